"""The migrated schema and the models say the same."""

from __future__ import annotations

from sqlalchemy import inspect

from orchestrator.settings import Settings
from orchestrator.store.migrate import migrate
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
    assert migrate(database) == (None, "0001")
    assert migrate(database) == ("0001", "0001")
    database.close()
