"""Budgets: what a tenant, a project, a key or a batch may spend in a day, a month or in all; what is held of it, and what is spent.

Each project has a row for its total, limited or not: the books of its holds and charges. Any other row is there while its limit
is. Rows are locked in one order, the projects' totals first and each kind by id, so that no two transactions wait for each other;
and since everybody who holds or settles locks the total of the project first, a new limit that locks it sees all that was held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

Scope = Literal["tenant", "project", "key", "batch"]
Period = Literal["day", "month", "total"]
ZERO: Final = Decimal(0)

START: Final = "CASE b.period WHEN 'total' THEN '-infinity'::timestamptz ELSE date_trunc(b.period, now(), 'UTC') END"
"""When the period began that a budget is in; days and months are UTC."""
SPENT: Final = f"CASE WHEN b.period_start < {START} THEN 0 ELSE b.spent_usd END"
BOOKS: Final = "b.scope = 'project' AND b.period = 'total'"
_PAIRS: Final = "LATERAL (VALUES ('tenant', x.tenant), ('project', x.project), ('key', x.key), ('batch', x.batch)) s(scope, scope_id)"

HOLD: Final = text(f"""
    UPDATE budgets b SET held_usd = held_usd + :amount WHERE {BOOKS} AND scope_id = :project
        AND (limit_usd IS NULL OR spent_usd + held_usd + :amount <= limit_usd)
    RETURNING id
""")
HOLD_LIMITED: Final = text(f"""
    WITH mine AS MATERIALIZED (
        SELECT b.id, b.scope, b.period, b.limit_usd, b.held_usd, {SPENT} AS spent_usd, {START} AS start
        FROM (SELECT CAST(:tenant AS bigint) AS tenant, CAST(:project AS bigint) AS project, CAST(:key AS bigint) AS key,
            CAST(:batch AS bigint) AS batch) x, {_PAIRS} JOIN budgets b ON b.scope = s.scope AND b.scope_id = s.scope_id
        WHERE NOT ({BOOKS}) ORDER BY b.id FOR UPDATE OF b
    ), over AS (
        SELECT * FROM mine WHERE spent_usd + held_usd + :amount > limit_usd
    ), done AS (
        UPDATE budgets SET held_usd = budgets.held_usd + :amount, spent_usd = mine.spent_usd, period_start = mine.start
        FROM mine WHERE budgets.id = mine.id AND NOT EXISTS (SELECT FROM over)
    )
    SELECT scope, period, limit_usd, limit_usd - spent_usd - held_usd AS left_usd FROM over ORDER BY left_usd LIMIT 1
""")
# Books that went wrong must not keep results from being recorded: no hold falls below nothing, and the doctor tells of it.
SETTLE: Final = text(f"""
    WITH locked AS MATERIALIZED (
        SELECT b.id, x.released, x.spent
        FROM unnest(CAST(:projects AS bigint[]), CAST(:released AS numeric[]), CAST(:spent AS numeric[])) x(project, released, spent)
        JOIN budgets b ON {BOOKS} AND b.scope_id = x.project ORDER BY b.id FOR UPDATE OF b
    )
    UPDATE budgets SET held_usd = greatest(held_usd - released, 0), spent_usd = spent_usd + spent FROM locked WHERE budgets.id = locked.id
""")
SETTLE_LIMITED: Final = text(f"""
    WITH sums AS MATERIALIZED (
        SELECT b.id, sum(x.released) AS released, sum(x.spent) AS spent
        FROM unnest(CAST(:tenants AS bigint[]), CAST(:projects AS bigint[]), CAST(:keys AS bigint[]), CAST(:batches AS bigint[]),
            CAST(:released AS numeric[]), CAST(:spent AS numeric[])) x(tenant, project, key, batch, released, spent), {_PAIRS}
        JOIN budgets b ON b.scope = s.scope AND b.scope_id = s.scope_id
        WHERE NOT ({BOOKS}) GROUP BY b.id
    ), locked AS MATERIALIZED (
        SELECT b.id, sums.released, {SPENT} + sums.spent AS spent_usd, {START} AS start
        FROM budgets b JOIN sums ON sums.id = b.id ORDER BY b.id FOR UPDATE OF b
    )
    UPDATE budgets SET held_usd = greatest(held_usd - released, 0), spent_usd = locked.spent_usd, period_start = locked.start
    FROM locked WHERE budgets.id = locked.id
""")
LEFT: Final = text(
    f"SELECT b.limit_usd - b.spent_usd - b.held_usd FROM budgets b WHERE {BOOKS} AND b.scope_id = :project"
)
LOCK_BOOKS: Final = text(f"""
    SELECT b.id, b.scope_id, b.limit_usd - b.spent_usd - b.held_usd AS room_usd
    FROM budgets b WHERE {BOOKS} AND b.scope_id = ANY(CAST(:projects AS bigint[])) ORDER BY b.id FOR UPDATE
""")
LOCK_LIMITED: Final = text(f"""
    SELECT b.id, x.lane, b.limit_usd - {SPENT} - b.held_usd AS room_usd
    FROM unnest(CAST(:lanes AS bigint[]), CAST(:tenants AS bigint[]), CAST(:projects AS bigint[]), CAST(:keys AS bigint[]))
        y(lane, tenant, project, key), LATERAL (SELECT y.lane, y.tenant, y.project, y.key, y.lane AS batch) x, {_PAIRS}
    JOIN budgets b ON b.scope = s.scope AND b.scope_id = s.scope_id
    WHERE NOT ({BOOKS}) ORDER BY b.id FOR UPDATE OF b
""")
ADD_HOLDS: Final = text("""
    UPDATE budgets SET held_usd = held_usd + x.amount
    FROM unnest(CAST(:ids AS bigint[]), CAST(:amounts AS numeric[])) AS x(id, amount) WHERE budgets.id = x.id
""")
CAP_BATCH: Final = text("""
    INSERT INTO budgets (tenant_id, scope, scope_id, period, limit_usd) VALUES (:tenant, 'batch', :batch, 'total', :limit)
    ON CONFLICT (scope, scope_id, period) DO UPDATE SET limit_usd = excluded.limit_usd
""")
DROP_BATCH: Final = text("DELETE FROM budgets WHERE scope = 'batch' AND scope_id = :batch")
REFUSED: Final = text(
    "UPDATE budgets SET refused_at = now() WHERE scope = :scope AND scope_id = :scope_id AND period = :period"
)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a transaction gives back of an owner's hold, and what it charges."""

    released_usd: Decimal = ZERO
    spent_usd: Decimal = ZERO

    def plus(self, released_usd: Decimal, spent_usd: Decimal) -> Settlement:
        """The sum of both."""
        return Settlement(self.released_usd + released_usd, self.spent_usd + spent_usd)


Payer = tuple[Owner, int]
"""Whose jobs they are, and their batch (0 outside any)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The budget that has not enough left."""

    scope: str
    period: str
    limit_usd: Decimal
    left_usd: Decimal


def hold(session: Session, owner: Owner, amount_usd: Decimal, batch_id: int = 0) -> Refused | None:
    """Reserve of every budget that an owner's work counts to, each by a conditional update; the one that has too little left, or None.

    Where it is refused nothing counts: the caller rolls its transaction back.
    """
    values = {
        "tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id, "batch": batch_id, "amount": amount_usd,
    }  # fmt: skip
    if session.execute(HOLD, {"project": owner.project_id, "amount": amount_usd}).one_or_none() is None:
        left = session.execute(LEFT, {"project": owner.project_id}).scalar_one_or_none() or ZERO
        return Refused("project", "total", ZERO, left)
    row = session.execute(HOLD_LIMITED, values).one_or_none()
    return Refused(*row) if row else None


def settle(session: Session, settlements: Mapping[Payer, Settlement]) -> None:
    """Release holds and book what was spent. The last statements of a transaction: the rows are hot."""
    if not settlements:
        return
    projects: dict[int, Settlement] = {}
    for (owner, _), one in settlements.items():
        before = projects.get(owner.project_id, Settlement())
        projects[owner.project_id] = before.plus(one.released_usd, one.spent_usd)
    session.execute(
        SETTLE,
        {
            "projects": list(projects), "released": [one.released_usd for one in projects.values()],
            "spent": [one.spent_usd for one in projects.values()],
        },
    )  # fmt: skip
    payers = list(settlements)
    session.execute(
        SETTLE_LIMITED,
        {
            "tenants": [owner.tenant_id for owner, _ in payers], "projects": [owner.project_id for owner, _ in payers],
            "keys": [owner.api_key_id for owner, _ in payers], "batches": [batch for _, batch in payers],
            "released": [one.released_usd for one in settlements.values()],
            "spent": [one.spent_usd for one in settlements.values()],
        },
    )  # fmt: skip


def cap_batch(session: Session, owner: Owner, batch_id: int, limit_usd: Decimal) -> None:
    """Give a batch a budget of its own, or another limit to the one that it has."""
    session.execute(CAP_BATCH, {"tenant": owner.tenant_id, "batch": batch_id, "limit": limit_usd})


def drop_batch(session: Session, batch_id: int) -> None:
    """Take away the budget of a batch that has ended."""
    session.execute(DROP_BATCH, {"batch": batch_id})


def mark_refused(session: Session, scope: str, scope_id: int, period: str) -> None:
    """Note that a budget refused work: its owner is told."""
    session.execute(REFUSED, {"scope": scope, "scope_id": scope_id, "period": period})


@dataclass(slots=True)
class Rooms:
    """What is left of the budgets that some batches count to, locked until the transaction ends, and what was added to their holds."""

    left_usd: dict[int, Decimal] = field(default_factory=dict)
    """By the budget's row."""
    rows: dict[int, list[int]] = field(default_factory=dict)
    """The rows that a batch counts to."""
    held_usd: dict[int, Decimal] = field(default_factory=dict)

    def of(self, batch_id: int) -> Decimal:
        """How much more a batch's jobs may hold: the least of what is left."""
        return min((self.left_usd[row] for row in self.rows[batch_id] if row in self.left_usd), default=Decimal(10**8))

    def take(self, batch_id: int, amount_usd: Decimal) -> None:
        """Hold more for a batch."""
        for row in self.rows[batch_id]:
            self.held_usd[row] = self.held_usd.get(row, ZERO) + amount_usd
            if row in self.left_usd:
                self.left_usd[row] -= amount_usd


def lock_rooms(session: Session, payers: Sequence[Payer]) -> Rooms:
    """Lock the budgets of some batches' owners, and read what is left of each."""
    rooms = Rooms(rows={batch: [] for _, batch in payers})
    if not payers:
        return rooms
    projects = {owner.project_id for owner, _ in payers}
    for row in session.execute(LOCK_BOOKS, {"projects": list(projects)}):
        for owner, batch in payers:
            if owner.project_id == row.scope_id:
                _add(rooms, row.id, batch, row.room_usd)
    found = session.execute(
        LOCK_LIMITED,
        {
            "lanes": [batch for _, batch in payers], "tenants": [owner.tenant_id for owner, _ in payers],
            "projects": [owner.project_id for owner, _ in payers], "keys": [owner.api_key_id for owner, _ in payers],
        },
    )  # fmt: skip
    for row in found:
        _add(rooms, row.id, row.lane, row.room_usd)
    return rooms


def _add(rooms: Rooms, row_id: int, batch_id: int, room_usd: Decimal | None) -> None:
    rooms.rows[batch_id].append(row_id)
    if room_usd is not None:
        rooms.left_usd[row_id] = room_usd


def add_holds(session: Session, rooms: Rooms) -> None:
    """Write what was taken of rooms; their rows are locked already."""
    taken = {row: amount for row, amount in rooms.held_usd.items() if amount}
    if taken:
        session.execute(ADD_HOLDS, {"ids": list(taken), "amounts": list(taken.values())})


def payers(rows: Iterable[Row[Any]]) -> list[Payer]:
    """The payers of batches' rows."""
    return [(Owner(row.tenant_id, row.project_id, row.api_key_id), row.id) for row in rows]
