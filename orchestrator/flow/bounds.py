"""Bounds: what the owners of lanes may spend and have in flight, kept by the dispatcher for the length of one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    """The rooms of budgets, locked, and how many more jobs each tenant, project and key may have assigned."""

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
    bounded = [lane for lane in found if any(one in most for one in _scopes(lane))]
    left = _left_in_flight(session, most, bounded) if bounded else {}
    return Bounds(budgets.lock_rooms(session, limited), left)


def _left_in_flight(
    session: Session, most: Mapping[tuple[str, int], int], bounded: Sequence[Lane]
) -> dict[tuple[str, int], int]:
    now = lanes.in_flight(session, sorted({lane.owner.tenant_id for lane in bounded}))
    return {one: max(0, allowed - now.get(one, 0)) for one, allowed in most.items()}


def _scopes(lane: Lane) -> Iterator[tuple[str, int]]:
    owner = lane.owner
    yield "tenant", owner.tenant_id
    yield "project", owner.project_id
    if owner.api_key_id:
        yield "key", owner.api_key_id
