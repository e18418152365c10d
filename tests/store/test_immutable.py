"""What is written once: the database itself refuses to change it, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from orchestrator.settings import Settings
from orchestrator.store.session import Database, Role

BOOKED = text("""
    INSERT INTO transfers (job_id, attempt, kind, debit_account, credit_account, amount_usd, tenant_id, project_id, api_key_id,
        batch_id, tier, model, price_version)
    VALUES (1, 1, 'charge', 'tenant:1', 'revenue', 0.05, 1, 1, 1, 0, 'llm', 'fast', 1)
""")
LEDGER = text("SELECT * FROM transfers")
CHANGES = [
    "UPDATE transfers SET amount_usd = 0",
    "UPDATE transfers SET created_at = now() WHERE false",
    "DELETE FROM transfers",
    "DELETE FROM transfers USING jobs WHERE jobs.id = transfers.job_id",
    "MERGE INTO transfers t USING (SELECT 1) s ON t.job_id = 1 WHEN MATCHED THEN DELETE",
    f"{BOOKED} ON CONFLICT (job_id, attempt, kind) DO UPDATE SET amount_usd = 0",
    "UPDATE ledger_entries SET amount_usd = 0",
    "DELETE FROM ledger_entries",
]
WRITTEN_ONCE = ("attempts", "results", "batch_progress", "config_versions", "transfers")
"""What a worker adds to and may never change."""


@pytest.fixture
def owner(settings: Settings) -> Iterator[Database]:
    with closing(Database(settings, "owner", connections=1)) as database:
        yield database


@pytest.mark.parametrize("role", ["owner", "app", "worker"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_role_can_change_what_the_ledger_says(role: Role, change: str, owner: Database, settings: Settings) -> None:
    with owner.unit_of_work() as session:
        session.execute(BOOKED)
        before = session.execute(LEDGER).all()
    with (
        closing(Database(settings, role, connections=1)) as database,
        pytest.raises(DBAPIError, match=r"append-only|permission denied|cannot (update|delete from) view"),
        database.engine.begin() as connection,
    ):
        connection.execute(text(change))
    with owner.unit_of_work() as session:
        assert session.execute(LEDGER).all() == before


@pytest.mark.parametrize("role", ["app", "worker"])
@pytest.mark.parametrize(
    "change",
    ["TRUNCATE transfers", "DROP TABLE transfers CASCADE", "ALTER TABLE transfers DISABLE TRIGGER ALL", "DROP FUNCTION refuse_change CASCADE"],
)  # fmt: skip
def test_no_role_that_serves_can_take_the_ledger_away(role: Role, change: str, settings: Settings) -> None:
    with (
        closing(Database(settings, role, connections=1)) as database,
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        database.engine.begin() as connection,
    ):
        connection.execute(text(change))


@pytest.mark.parametrize("table", WRITTEN_ONCE)
def test_a_worker_adds_and_never_changes(table: str, settings: Settings) -> None:
    may = text(
        "SELECT has_table_privilege(:table, 'INSERT'), has_any_column_privilege(:table, 'UPDATE'), "
        "has_table_privilege(:table, 'DELETE'), has_table_privilege(:table, 'TRUNCATE')"
    )
    with closing(Database(settings, "worker", connections=1)) as database, database.unit_of_work() as session:
        assert tuple(session.execute(may, {"table": table}).one()) == (True, False, False, False)
