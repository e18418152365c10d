"""Bounds: what the owners of lanes may spend and have in flight, kept by the dispatcher for the length of one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from sqlalchemy.orm import Session

from orchestrator.store import budgets, lanes
from orchestrator.store.budgets import Rooms
from orchestrator.store.lanes import Lane

NO_BOUND: Final = 10**9
EXHAUSTED: Final = "budget_exhausted"


@dataclass(slots=True)
class Bounds:
    """The rooms of budgets, locked, and how many more jobs each tenant and project may have assigned."""

    rooms: Rooms
    left_in_flight: dict[tuple[str, int], int]
    held_back: set[int] = field(default_factory=set)
    went_on: set[int] = field(default_factory=set)

    def jobs(self, lane: Lane) -> int:
        """How many more jobs of a lane may be assigned."""
        return min((self.left_in_flight.get(one, NO_BOUND) for one in _scopes(lane)), default=NO_BOUND)

    def room_usd(self, lane: Lane) -> Decimal:
        """How much more the jobs of a limited lane may hold."""
        return max(Decimal(0), self.rooms.of(lane.id))

    def took(self, lane: Lane, jobs: int, more_usd: Decimal | None = None) -> None:
        """Count what was assigned of a lane."""
        for one in _scopes(lane):
            if one in self.left_in_flight:
                self.left_in_flight[one] -= jobs
        if more_usd is not None:
            self.rooms.take(lane.id, more_usd)
            self.went_on.add(lane.id)

    def hold_back(self, lane: Lane) -> None:
        """Note that the next job of a lane could cost more than what is left."""
        self.held_back.add(lane.id)

    def is_held_back(self, lane: Lane) -> bool:
        """Whether that was so in this pass."""
        return lane.id in self.held_back

    def write(self, session: Session) -> None:
        """Write what the pass took of budgets, and which batches wait for more of theirs."""
        budgets.add_holds(session, self.rooms)
        lanes.hold_back(session, sorted(self.held_back - self.went_on), EXHAUSTED)
        lanes.hold_back(session, sorted(self.went_on), None)


def bounds_of(session: Session, found: Sequence[Lane]) -> Bounds:
    """Lock and read what bounds some lanes; nothing where their owners have neither budgets nor quotas."""
    limited = [(lane.owner, lane.id) for lane in found if lane.limited]
    most = lanes.in_flight_bounds(session)
    bounded = {lane.owner.tenant_id for lane in found if any(one in most for one in _scopes(lane))}
    return Bounds(budgets.lock_rooms(session, limited), _left_in_flight(session, most, bounded))


@dataclass(frozen=True, slots=True)
class Full:
    """Whose jobs that came back have to wait, since as many as may be are in flight already; and how many others may go together."""

    tenants: Sequence[int] = ()
    projects: Sequence[int] = ()
    most: int = NO_BOUND
    """No owner passes its bound by a group of so many, whosever they are."""


def full_of_those_that_came_back(session: Session, model: str) -> Full:
    """What bounds the jobs that came back and wait for a model; they are looked up only where somebody has such a quota."""
    most = lanes.in_flight_bounds(session)
    came_back = lanes.came_back(session, model) if most else []
    waiting = {one for tenant, project in came_back for one in (("tenant", tenant), ("project", project))}
    left = _left_in_flight(session, most, {tenant for tenant, _ in came_back} if waiting & most.keys() else set())
    full = [one for one in waiting if left.get(one, NO_BOUND) == 0]
    return Full(
        tenants=[scope_id for scope, scope_id in full if scope == "tenant"],
        projects=[scope_id for scope, scope_id in full if scope == "project"],
        most=min((left[one] for one in waiting if left.get(one)), default=NO_BOUND),
    )


def _left_in_flight(
    session: Session, most: Mapping[tuple[str, int], int], tenant_ids: Set[int]
) -> dict[tuple[str, int], int]:
    """How many more jobs may be assigned of whoever has such a quota, as far as it belongs to one of some tenants."""
    if not tenant_ids:
        return {}
    now = lanes.in_flight(session, sorted(tenant_ids))
    return {one: max(0, allowed - now.get(one, 0)) for one, allowed in most.items()}


def _scopes(lane: Lane) -> tuple[tuple[str, int], ...]:
    return ("tenant", lane.owner.tenant_id), ("project", lane.owner.project_id)
