"""No hold falls below nothing: what did is mended when the schema comes to it, and recording goes on whatever the books say."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import InvalidConfig
from orchestrator.flow import read
from orchestrator.settings import Settings
from orchestrator.store import budgets, invariants
from orchestrator.store import migrate as migrations
from orchestrator.store.budgets import Settlement
from orchestrator.store.migrate import NEWEST, check_schema, migrate
from orchestrator.store.session import Database
from tests.stack import OWNER, Stack, rows

JOB = """
    INSERT INTO jobs (public_id, tenant_id, project_id, api_key_id, batch_id, lane, prefix_hash, deadline, row_number, fleet_version,
        policy_version, price_version, stored_on, state, held_usd, tier, model, endpoint, rule)
    VALUES (gen_random_uuid(), 1, 1, 1, 0, -1, 0, now() + interval '1 h', 0, 1, 1, 1, current_date, {state}, {held}, 'llm', 'fast', '/', '')
"""
HELD = "SELECT scope, period, held_usd FROM budgets ORDER BY scope, period"


@pytest.fixture
def old(empty_database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database of the schema before."""
    database = Database(
        Settings.load({"database_url": empty_database, "data_dir": settings.data_dir}), "owner", connections=1
    )
    with monkeypatch.context() as then:
        then.setattr(migrations, "NEWEST", "0004")
        assert migrate(database) == (None, "0004")
    yield database
    database.close()


def run(database: Database, *statements: str, role: str = "rightsize_orchestrator") -> list[tuple[object, ...]]:
    """Rows of the last of some statements, as a role."""
    with database.unit_of_work() as session:
        session.execute(text(f"SET LOCAL ROLE {role}"))
        found = [session.execute(text(one)) for one in statements][-1]
        return [tuple(row) for row in found] if found.returns_rows else []


def test_this_release_wants_its_own_schema_and_says_how_to_come_to_it(old: Database) -> None:
    with pytest.raises(InvalidConfig, match="rightsize migrate"):
        check_schema(old)
    assert migrate(old) == ("0004", NEWEST)
    check_schema(old)


def test_books_below_nothing_are_mended_and_those_that_are_right_stay(old: Database) -> None:
    run(
        old,
        JOB.format(state=1, held="0.25"),
        JOB.format(state=10, held="-0.5"),
        "UPDATE budgets SET held_usd = -0.75",
        "INSERT INTO budgets (tenant_id, scope, scope_id, period, limit_usd, held_usd) VALUES (1, 'key', 1, 'day', 5, 0.25)",
    )
    migrate(old)
    assert run(old, HELD) == [("key", "day", Decimal("0.25")), ("project", "total", Decimal("0.25"))]
    assert run(old, "SELECT state, held_usd FROM jobs ORDER BY state") == [(1, Decimal("0.25")), (10, Decimal(0))]
    with old.unit_of_work() as session:
        session.execute(text("SET LOCAL ROLE rightsize_orchestrator"))
        found = invariants.check(session, grace_s=10, most_attempts=3)
    assert not [one for one in found if one.name in ("I3-hold", "I3-held")]


def test_the_database_refuses_a_hold_below_nothing_whoever_writes_it(old: Database) -> None:
    migrate(old)
    valid = "SELECT conrelid::regclass::text FROM pg_constraint WHERE conname LIKE '%held_usd_check' AND convalidated ORDER BY 1"
    assert run(old, valid) == [("budgets",), ("jobs",)]
    for statement in ("UPDATE budgets SET held_usd = -0.000001", JOB.format(state=1, held="-1")):
        with pytest.raises(IntegrityError, match="held_usd_check"):
            run(old, statement)


def test_a_migration_that_was_cut_off_between_its_parts_is_done_again(old: Database) -> None:
    migrate(old)
    run(old, "UPDATE alembic_version SET version_num = '0004'", role="NONE")
    assert migrate(old) == ("0004", NEWEST)


def test_the_refusal_of_a_task_is_found_by_its_index(old: Database) -> None:
    migrate(old)
    looked = "EXPLAIN SELECT id FROM refusals WHERE tenant_id = 1 AND task_id = 'x' ORDER BY id DESC LIMIT 1"
    plan = run(old, "SET LOCAL enable_seqscan = off", "SET LOCAL enable_indexscan = on", looked)
    assert "refusals_of_task" in str(plan)


def test_what_is_due_to_an_endpoint_is_found_without_what_is_due_to_others(old: Database) -> None:
    migrate(old)
    looked = (
        "EXPLAIN SELECT id FROM webhook_deliveries WHERE endpoint_id = 1 AND next_at <= now() ORDER BY next_at LIMIT 2"
    )
    plan = run(old, "SET LOCAL enable_seqscan = off", "SET LOCAL enable_sort = off", looked)
    assert "webhook_deliveries_waiting" in str(plan)


def test_results_are_recorded_although_the_books_are_wrong(stack: Stack) -> None:
    batch = stack.submit(rows(3))
    read.read_waiting(stack.context)
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE budgets SET held_usd = 0"))
        budgets.settle(session, {(OWNER, 0): Settlement(Decimal(1), Decimal(0))})
    stack.orchestrator()
    stack.worker()
    assert stack.wait(batch).final["completed"] == 3
    assert stack.query("SELECT held_usd FROM budgets") == [(Decimal(0),)]
