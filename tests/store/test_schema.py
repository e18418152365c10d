"""The migrated schema and the models say the same."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from orchestrator.settings import Settings
from orchestrator.store.migrate import NEWEST, OLDEST, migrate
from orchestrator.store.models import Base
from orchestrator.store.session import Database


def test_every_model_has_the_columns_of_its_table(settings: Settings) -> None:
    database = Database(settings, "owner", connections=1)
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        there = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert {column.name: bool(column.nullable) for column in table.columns} == there, table.name
    database.close()


def test_migrating_twice_changes_nothing(empty_database: str, settings: Settings) -> None:
    database = Database(
        Settings.load({"database_url": empty_database, "data_dir": settings.data_dir}), "owner", connections=1
    )
    assert migrate(database) == (None, NEWEST)
    assert migrate(database) == (NEWEST, NEWEST)
    database.close()


def test_the_range_that_processes_check_is_that_of_the_migrations() -> None:
    """The range is kept as numbers, so that a process need not read the migrations to start."""
    config = Config()
    config.set_main_option("script_location", "migrations")
    known = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    assert known[0] == NEWEST
    assert OLDEST in known
    assert known == sorted(known, reverse=True)
