"""Dispatch: queued jobs become dispatches of one model, as many as its workers can soon start.

One dispatcher a model at a time, by an advisory lock. Cost does not grow with the backlog: lanes are ranked first (there are as
many as open batches), then rows are taken from the top few, each from the place where its lane stood. The places are kept in
memory as a hint; a lane that seems empty is looked at once more from its start, and again now and then.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import Session

from orchestrator.crashpoints import reached
from orchestrator.errors import ServiceUnavailable
from orchestrator.fairness import Pace, Shares, Window, window
from orchestrator.fleet import Model
from orchestrator.flow.bounds import Bounds, Full, bounds_of, full_of_those_that_came_back
from orchestrator.flow.context import Context
from orchestrator.store import dispatches, lanes
from orchestrator.store.dispatches import Assigned
from orchestrator.store.lanes import Lane
from orchestrator.store.session import try_lock

START: Final = (-(2**63), 0)
"""Before every place in a lane."""
SUSPECTS: Final = 1
"""Dispatches of suspects outstanding at one worker: it runs one at a time, and one that waits would be lost with it."""
TOGETHER: Final = 16
"""Suspects that run beside one another after their first loss: the square root of what a worker with some hundred slots loses,
so that finding a culprit among them takes about as long as giving all of them their turn."""
ANEW_S: Final = 10.0
"""So often the scan of singles begins anew: rows may go on coming in before its place. Each time it walks over dead index entries."""
RECHECK_S: Final = 0.2
"""Batches' lanes that seemed empty are looked into again so often, all of a model at once: rows come back into them, of cascades and of
documents whose parts are done, and something may have been locked then."""


@dataclass(slots=True)
class Place:
    """Where a lane stands: the last row taken, and whether it was found empty."""

    after: tuple[int, int] = START
    empty: bool = False
    begun: float = field(default_factory=time.monotonic)

    def move(self, made: Assigned, *, grows: bool, now: float) -> None:
        """Go on behind a new dispatch; in a lane that grows, begin anew now and then."""
        self.after, self.empty = (made.prefix_hash, made.last_id), False
        if grows and now - self.begun > ANEW_S:
            self.after, self.begun = START, now


@dataclass(slots=True)
class Line:
    """What the dispatcher remembers of one model."""

    shares: Shares = field(default_factory=Shares)
    places: dict[int, Place] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    seen_singles: int = lanes.FIRST
    """The last lane of singles that the last pass looked at, where it could not look at all."""
    rechecked: float = 0.0
    """When empty lanes were looked into last."""


@dataclass(slots=True)
class Space:
    """What still fits into a model's window in one pass."""

    jobs: int
    dispatches: int

    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self.jobs <= 0 or self.dispatches <= 0

    def take(self, one: Assigned) -> Assigned:
        """Count a new dispatch, and return it."""
        self.jobs -= one.jobs
        self.dispatches -= 1
        return one


@dataclass(slots=True)
class Dispatcher:
    """Assigns and publishes, one pass for one model at a time."""

    context: Context
    lines: dict[str, Line] = field(default_factory=dict)

    def pass_over(self, model: Model) -> int:
        """Assign what the model's workers can soon start, commit, and publish it; returns the number of jobs."""
        line = self.lines.setdefault(model.name, Line())
        with self.context.database.unit_of_work() as session:
            if not try_lock(session, f"dispatch:{model.name}"):
                return 0
            made = self._assign(session, model, line)
        reached("dispatch.after_commit")
        for one in made:
            if not self._publish(model, one.dispatch_id):
                break
            reached("dispatch.after_publish")
        return sum(one.jobs for one in made)

    def _assign(self, session: Session, model: Model, line: Line) -> list[Assigned]:
        """Jobs that came back first, then the lanes in their rank, one group at a time."""
        settings = self.context.settings
        found = dispatches.capacity(session, model.name, settings.lease_s)
        latency = model.expected_latency_s if found.latency_s is None else found.latency_s
        seen_rate = line.pace.look(found.outstanding_jobs, time.monotonic())
        allowed = window(
            slots=found.slots, workers=found.workers, latency_s=latency, most_group=settings.dispatch_max_jobs,
            seen_rate=seen_rate if found.latency_s is None else None,
        )  # fmt: skip
        space = Space(allowed.jobs - found.outstanding_jobs, allowed.dispatches - found.outstanding_dispatches)
        # Waiting until a whole group fits keeps dispatches from getting ever smaller; an idle model takes any.
        if space.is_full() or (space.jobs < allowed.group and found.outstanding_jobs > found.slots):
            return []
        suspects = SUSPECTS * found.workers - found.outstanding_alone
        made = self._requeued(session, model, allowed, space, suspects)
        if not space.is_full():
            made += self._from_lanes(session, model, line, allowed, space)
        line.pace.gave(sum(one.jobs for one in made))
        return made

    def _requeued(self, session: Session, model: Model, allowed: Window, space: Space, suspects: int) -> list[Assigned]:
        """Groups of jobs that came back: suspects, then those that were only given back or tried again."""
        made: list[Assigned] = []
        full = full_of_those_that_came_back(session, model.name)
        for alone, most in ((True, suspects), (False, allowed.dispatches)):
            for _ in range(most):
                back = (
                    None
                    if space.is_full()
                    else dispatches.assign_requeued(
                        session,
                        tier=model.tier,
                        model=model.name,
                        alone=alone,
                        limit=min(TOGETHER if alone else allowed.group, space.jobs, full.most),
                        in_turn=min(allowed.suspects, space.jobs, full.most),
                        claim_by_s=self.context.settings.claim_by_s,
                        not_tenants=full.tenants,
                        not_projects=full.projects,
                    )
                )
                if back is None:
                    break
                made.append(space.take(back))
                if full != Full():
                    full = full_of_those_that_came_back(session, model.name)
        return made

    def _from_lanes(self, session: Session, model: Model, line: Line, allowed: Window, space: Space) -> list[Assigned]:
        """Groups of the lanes in their rank, each within what its owner may spend and have in flight."""
        made: list[Assigned] = []
        found = self._lanes(session, model, line)
        bounds = bounds_of(session, found)
        waiting = deque(line.shares.rank(found))
        while waiting and not space.is_full():
            lane = waiting[0]
            place = line.places.setdefault(lane.id, Place())
            most = min(allowed.group, space.jobs, bounds.jobs(lane))
            one = self._assign_from(session, model, lane, place, most, bounds) if most > 0 else None
            if one is not None:
                place.move(one, grows=lane.grows, now=time.monotonic())
                line.shares.served(lane, one.jobs)
                made.append(space.take(one))
                waiting = deque(line.shares.rank(waiting))
            elif most <= 0 or bounds.is_held_back(lane):
                waiting.popleft()
            elif place.after != START:
                place.after = START
            else:
                place.empty = True
                waiting.popleft()
        bounds.write(session)
        return made

    def _assign_from(
        self, session: Session, model: Model, lane: Lane, place: Place, most: int, bounds: Bounds
    ) -> Assigned | None:
        """The next group of a lane; None where nothing is queued in it, or nothing that its owner can pay."""
        claim_by_s = self.context.settings.claim_by_s
        place_in: dict[str, Any] = {
            "tier": model.tier, "model": model.name, "lane": lane.id, "after": place.after, "limit": most, "claim_by_s": claim_by_s,
        }  # fmt: skip
        if not lane.limited:
            one = dispatches.assign(session, **place_in)
            if one is not None:
                bounds.took(lane, one.jobs)
            return one
        made = dispatches.assign_within(session, **place_in, room_usd=bounds.room_usd(lane))
        if made is not None:
            bounds.took(lane, made[0].jobs, made[1])
            return made[0]
        if dispatches.is_queued(session, model=model.name, lane=lane.id, after=place.after):
            bounds.hold_back(lane)
        return None

    def _lanes(self, session: Session, model: Model, line: Line) -> list[Lane]:
        """The lanes that may have something queued for the model: singles by project, and open batches."""
        singles = lanes.singles(session, model.name, after=line.seen_singles, most=lanes.MOST_SINGLES)
        line.seen_singles = singles[-1].id if len(singles) == lanes.MOST_SINGLES else lanes.FIRST
        for lane in singles:
            line.places.setdefault(lane.id, Place()).empty = False
        found = singles + lanes.batches(session)
        present = {lane.id for lane in found}
        line.places = {lane_id: place for lane_id, place in line.places.items() if lane_id in present}
        self._recheck(session, model, line)
        return [lane for lane in found if not _seems_empty(line.places.get(lane.id))]

    def _recheck(self, session: Session, model: Model, line: Line) -> None:
        """Begin anew in lanes that seemed empty and are so no more."""
        now = time.monotonic()
        empty = [lane for lane, place in line.places.items() if _seems_empty(place)]
        if not empty or now - line.rechecked < RECHECK_S:
            return
        line.rechecked = now
        for lane in lanes.filled(session, model.name, empty):
            line.places[lane] = Place()

    def _publish(self, model: Model, dispatch_id: int) -> bool:
        """Send the message; False if Redis is away: the recovery pass sends it later, the dispatch is safe in Postgres."""
        try:
            self.context.broker.publish(self.context.config.fleet.queue_of(model), dispatch_id)
        except ServiceUnavailable:
            return False
        return True


def _seems_empty(place: Place | None) -> bool:
    return place is not None and place.empty
