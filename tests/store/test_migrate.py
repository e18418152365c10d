"""What a database may be found as, and what is said of it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings
from orchestrator.store.migrate import check_schema, migrate
from orchestrator.store.session import Database


@pytest.fixture
def database(empty_database: str, settings: Settings) -> Database:
    made = Database(
        Settings.load({"database_url": empty_database, "data_dir": settings.data_dir}), "owner", connections=1
    )
    migrate(made)
    return made


def change(database: Database, statement: str) -> None:
    with database.unit_of_work() as session:
        session.execute(text(statement))


@pytest.mark.parametrize("revision", ["9999", "0000", "abc"])
def test_a_schema_of_another_release_is_named_and_left_as_it_is(database: Database, revision: str) -> None:
    change(database, f"UPDATE alembic_version SET version_num = '{revision}'")
    for step in (migrate, check_schema):
        with pytest.raises(InvalidConfig, match=f"schema is {revision}, which this release does not know"):
            step(database)
    database.close()


def test_tables_without_a_revision_are_not_taken_for_an_empty_database(database: Database) -> None:
    change(database, "DELETE FROM alembic_version")
    with pytest.raises(InvalidConfig, match=r"no revision of Rightsize's schema: give an empty database"):
        migrate(database)
    with pytest.raises(InvalidConfig, match=r"Run `rightsize migrate`"):
        check_schema(database)
    database.close()
