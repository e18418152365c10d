"""Budgets on real Postgres: held, settled, limited by scope and period, and never passed by a race."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.settings import Settings
from orchestrator.store import budgets, limits
from orchestrator.store.budgets import Settlement, hold, lock_rooms, settle
from orchestrator.store.session import Database

OWNER = Owner(1, 1, 7)
OTHER = Owner(1, 1, 8)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(Database(settings, "app", connections=20)) as made:
        yield made


def usd(text_: str) -> Decimal:
    return Decimal(text_)


def row(database: Database, scope: str, period: str = "total") -> tuple[Decimal, Decimal]:
    with database.unit_of_work(1) as session:
        found = session.execute(
            text("SELECT held_usd, spent_usd FROM budgets WHERE scope = :s AND period = :p"), {"s": scope, "p": period}
        ).one()
    return found[0], found[1]


def limit(database: Database, scope: str, scope_id: int, amount: str | None, period: str = "total") -> None:
    with database.unit_of_work(1) as session:
        limits.set_budget(session, 1, scope, scope_id, period, None if amount is None else usd(amount))  # type: ignore[arg-type]


def take(database: Database, amount: str, owner: Owner = OWNER, batch: int = 0) -> budgets.Refused | None:
    class Back(Exception):
        pass

    refused: budgets.Refused | None = None
    try:
        with database.unit_of_work(1) as session:
            refused = hold(session, owner, usd(amount), batch)
            if refused:
                raise Back
    except Back:
        pass
    return refused


@pytest.mark.parametrize("scope, scope_id", [("tenant", 1), ("project", 1), ("key", 7)])
@pytest.mark.parametrize("period", ["day", "month", "total"])
def test_a_limit_of_any_scope_and_period_is_hard_and_says_what_is_left(
    database: Database, scope: str, scope_id: int, period: str
) -> None:
    limit(database, scope, scope_id, "1.00", period)
    assert take(database, "0.75") is None
    refused = take(database, "0.26")
    assert refused is not None
    assert (refused.scope, refused.period, refused.left_usd) == (scope, period, usd("0.25"))
    assert row(database, scope, period) == (usd("0.75"), 0)
    with database.unit_of_work(1) as session:
        settle(session, {(OWNER, 0): Settlement(usd("0.75"), usd("0.10"))})
    assert row(database, scope, period) == (0, usd("0.10"))
    assert take(database, "0.90") is None


def test_what_one_key_spends_does_not_count_to_another(database: Database) -> None:
    limit(database, "key", 7, "1.00")
    assert take(database, "5.00", OTHER) is None
    assert take(database, "1.00") is None
    assert row(database, "project") == (usd("6.00"), 0)


def test_a_refusal_by_one_budget_leaves_no_hold_on_another(database: Database) -> None:
    limit(database, "tenant", 1, "10")
    limit(database, "key", 7, "1")
    assert take(database, "2") is not None
    assert row(database, "tenant") == row(database, "project") == row(database, "key") == (0, 0)


def test_a_new_period_has_spent_nothing_and_keeps_what_is_held(database: Database, settings: Settings) -> None:
    limit(database, "tenant", 1, "1.00", "day")
    assert take(database, "0.80") is None
    with database.unit_of_work(1) as session:
        settle(session, {(OWNER, 0): Settlement(usd("0.30"), usd("0.30"))})
    with closing(Database(settings, "orchestrator", connections=1)) as house, house.unit_of_work() as session:
        session.execute(text("UPDATE budgets SET period_start = period_start - interval '1 day' WHERE period = 'day'"))
    assert take(database, "0.51") is not None  # 0.50 is still held of yesterday's work
    assert take(database, "0.50") is None
    assert row(database, "tenant", "day") == (usd("1.00"), 0)


def test_a_limit_that_is_set_later_counts_what_is_held_and_spent_already(database: Database) -> None:
    take(database, "3.00")
    with database.unit_of_work(1) as session:
        settle(session, {(OWNER, 0): Settlement(usd("1.00"), usd("0.40"))})
    limit(database, "tenant", 1, "2.50")
    assert row(database, "tenant") == (usd("2.00"), 0)  # the ledger has no charge: nothing was recorded
    limit(database, "project", 1, "2.50")
    assert row(database, "project") == (usd("2.00"), usd("0.40"))
    assert take(database, "0.20") is not None
    limit(database, "project", 1, None)
    limit(database, "tenant", 1, None)
    assert take(database, "100") is None


def test_a22_two_hundred_holds_at_once_with_budget_for_one_give_exactly_one(database: Database) -> None:
    limit(database, "key", 7, "1.00", "month")
    limit(database, "project", 1, "1.50")
    taken: list[bool] = []
    barrier = threading.Barrier(20)

    def race() -> None:
        barrier.wait()
        taken.extend(take(database, "0.80") is None for _ in range(10))

    threads = [threading.Thread(target=race) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(taken), sum(taken)) == (200, 1)
    assert row(database, "key", "month") == (usd("0.80"), 0)


def test_a22_a_million_settlements_of_a_micro_dollar_are_a_dollar_exactly(database: Database) -> None:
    take(database, "1.00")
    micro = usd("0.000001")
    with database.unit_of_work(1) as session:
        for _ in range(100):
            settle(session, {(OWNER, batch): Settlement(micro * 100, micro * 100) for batch in range(100)})
    assert row(database, "project") == (0, usd("1.00"))


def rooms_of(session: Session, *batches: int) -> budgets.Rooms:
    return lock_rooms(session, [(OWNER, batch) for batch in batches])


def test_the_room_of_a_batch_is_the_least_of_its_budgets_and_shrinks_for_all_that_share_one(database: Database) -> None:
    limit(database, "project", 1, "5.00")
    limit(database, "key", 7, "3.00", "day")
    with database.unit_of_work(1) as session:
        budgets.cap_batch(session, OWNER, 41, usd("1.00"))
    with database.unit_of_work(1) as session:
        rooms = rooms_of(session, 41, 42)
        assert (rooms.of(41), rooms.of(42)) == (usd("1.00"), usd("3.00"))
        rooms.take(42, usd("2.50"))
        assert (rooms.of(41), rooms.of(42)) == (usd("0.50"), usd("0.50"))
        budgets.add_holds(session, rooms)
    assert row(database, "key", "day") == (usd("2.50"), 0)
    assert row(database, "project") == (usd("2.50"), 0)
    assert row(database, "batch") == (0, 0)


def test_alerts_are_due_once_at_each_step_and_again_in_the_next_period(database: Database, settings: Settings) -> None:
    limit(database, "tenant", 1, "10", "day")

    def due() -> list[tuple[str, int]]:
        with closing(Database(settings, "orchestrator", connections=1)) as house, house.unit_of_work() as session:
            return [(found.scope, found.step) for found in limits.due_alerts(session)]

    assert due() == []
    take(database, "5")
    assert (due(), due()) == ([("tenant", 50)], [])
    take(database, "4.9")
    assert due() == [("tenant", 80)]
    with database.unit_of_work(1) as session:
        budgets.mark_refused(session, "tenant", 1, "day")
    assert (due(), due()) == ([("tenant", 100)], [])
    limit(database, "tenant", 1, "100", "day")
    assert due() == []


@pytest.mark.parametrize("period", ["day", "month"])
@pytest.mark.parametrize("begun_by", ["hold", "settlement", "alerts"])
def test_a_budget_is_told_of_in_every_period_whoever_begins_it(
    database: Database, settings: Settings, period: str, begun_by: str
) -> None:
    limit(database, "project", 1, "10", period)
    take(database, "9")
    with closing(Database(settings, "orchestrator", connections=1)) as house:

        def due() -> list[int]:
            with house.unit_of_work() as session:
                return [found.step for found in limits.due_alerts(session)]

        assert (due(), due()) == ([80], [])
        for _ in range(2):
            with house.unit_of_work() as session:
                session.execute(
                    text(
                        f"UPDATE budgets SET period_start = period_start - interval '1 {period}' WHERE period = '{period}'"
                    )
                )
            if begun_by == "hold":
                take(database, "0.1")
            elif begun_by == "settlement":
                with (
                    closing(Database(settings, "worker", connections=1)) as worker,
                    worker.unit_of_work() as session,
                ):
                    settle(session, {(OWNER, 0): Settlement(usd("0.2"), usd("0.1"))})
            assert (due(), due()) == ([80], [])
