"""Who is served next, and how much is sent at once. Pure, apart from the counters that a Shares object keeps in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from orchestrator.contracts import Owner

AHEAD: Final = 1.25
"""Work outstanding at a model, as a multiple of what it can run at once, so that it never drains between dispatches."""
AHEAD_S: Final = 0.5
"""At a fast model, where a slot is empty again at once: so many seconds of work."""
GROUP_S: Final = 0.25
"""A dispatch holds about so much work. More would save little, and a worker that is lost takes it all along."""
SUSPECTS_S: Final = 1.0
"""A dispatch of suspects that run one after the other holds about so much work."""
MOST_SUSPECTS: Final = 32
FASTEST_S: Final = 0.001
MOST_OUTSTANDING: Final = 4_000
"""Jobs outstanding at one worker, at most."""
MOST_DISPATCHES: Final = 48
"""Bulk dispatches of a model outstanding at one worker, at most: it has threads for four models, and for interactive work."""
LATELY_S: Final = 5.0
"""What was ended within so long says how quick a model is, until its workers have measured it."""
LEAST_SPAN_S: Final = 0.05
GROWS: Final = 4.0
"""How many times as quick as it was seen to be a model may be, until it is measured: with little given out, little is seen."""

RAMP_S: Final = 3_600.0
"""So long before its deadline a lane's share begins to rise."""
MOST_BOOST: Final = 4.0
"""How many times its share a lane gets at its deadline. Bounded: a tenant all of whose deadlines are near starves nobody."""


class Ranked(Protocol):
    """What ranking needs to know of a lane."""

    @property
    def id(self) -> int:
        """The lane."""

    @property
    def owner(self) -> Owner:
        """Whose it is."""

    @property
    def tenant_weight(self) -> int:
        """The share of its tenant, beside those of the others."""

    @property
    def project_weight(self) -> int:
        """The share of its project within the tenant."""

    @property
    def due_s(self) -> float | None:
        """Seconds until its deadline; None where it has none that is near."""


L = TypeVar("L", bound=Ranked)


def boost(due_s: float | None) -> float:
    """How many times its share a lane gets, for the time that it has left: 1 until an hour before, and 4 at the deadline."""
    if due_s is None or due_s >= RAMP_S:
        return 1.0
    return 1.0 + (MOST_BOOST - 1.0) * (1.0 - max(due_s, 0.0) / RAMP_S)


@dataclass(slots=True)
class Shares:
    """How much each tenant, project and lane was served at one model, over its weight; those served least go first.

    Start-time fair queueing (Goyal, Vin and Cheng, 1996) on three levels: whoever has nothing queued takes nothing from the
    others, and a newcomer starts level with the least served of them, neither favoured for its past nor made to wait.
    """

    tenants: dict[int, float] = field(default_factory=dict)
    projects: dict[int, float] = field(default_factory=dict)
    lanes: dict[int, float] = field(default_factory=dict)

    def rank(self, lanes: Collection[L]) -> list[L]:
        """The lanes in the order in which they are served: tenants by share, then their projects, then lanes, the urgent first."""
        self._level(self.tenants, {lane.owner.tenant_id for lane in lanes})
        self._level(self.projects, {lane.owner.project_id for lane in lanes})
        self._level(self.lanes, {lane.id for lane in lanes})
        return sorted(
            lanes,
            key=lambda lane: (
                self.tenants[lane.owner.tenant_id],
                self.projects[lane.owner.project_id],
                boost(lane.due_s) == 1.0,
                self.lanes[lane.id],
                lane.id,
            ),
        )

    def served(self, lane: Ranked, work: float) -> None:
        """Count work given to a lane."""
        counted = work / boost(lane.due_s)
        self.tenants[lane.owner.tenant_id] += counted / lane.tenant_weight
        self.projects[lane.owner.project_id] += counted / lane.project_weight
        self.lanes[lane.id] += counted

    @staticmethod
    def _level(counts: dict[int, float], present: Iterable[int]) -> None:
        present = set(present)
        floor = min((counts[key] for key in present if key in counts), default=0.0)
        for key in set(counts) - present:
            del counts[key]
        for key in present:
            counts[key] = max(counts.get(key, floor), floor) - floor


@dataclass(frozen=True, slots=True)
class Window:
    """How many jobs and dispatches may be outstanding at a model, and how many jobs one dispatch holds."""

    jobs: int
    dispatches: int
    group: int
    suspects: int
    """Jobs in a dispatch of suspects that run one after the other."""


@dataclass(slots=True)
class Pace:
    """How many jobs a second a model has ended lately, by what was outstanding at it from pass to pass.

    Work that another orchestrator gave out in between hides some of it: then the figure is too low, and less is given out.
    """

    _left: int = 0
    """Outstanding at the end of the last pass."""
    _ended: deque[tuple[float, int]] = field(default_factory=deque)
    """When it was looked, and how many had ended since the look before."""

    def look(self, outstanding: int, now: float) -> float:
        """The jobs a second that have ended in the last seconds; `now` is on the monotonic clock."""
        self._ended.append((now, max(0, self._left - outstanding)))
        self._left = outstanding
        while now - self._ended[0][0] > LATELY_S:
            self._ended.popleft()
        began, _ = self._ended[0]
        ended = sum(count for _, count in self._ended) - self._ended[0][1]
        return ended / max(now - began, LEAST_SPAN_S)

    def gave(self, jobs: int) -> None:
        """Count what this pass has given out."""
        self._left += jobs


def window(*, slots: int, workers: int, latency_s: float, most_group: int, seen_rate: float | None = None) -> Window:
    """The window of a model, from its live workers' slots and the median seconds of one request.

    `seen_rate` is given while the latency is what the fleet expects, and nobody has measured it: the jobs a second that were ended
    lately. The window then begins with the slots, and grows with what it sees.
    """
    if slots <= 0 or workers <= 0:
        return Window(0, 0, 0, 0)
    latency_s = max(latency_s, FASTEST_S)
    rate = slots / latency_s
    trusted = rate if seen_rate is None else min(rate, GROWS * seen_rate)
    jobs = max(math.ceil(AHEAD * slots), min(int(AHEAD_S * trusted), MOST_OUTSTANDING * workers))
    dispatches = MOST_DISPATCHES * workers
    wanted = min(int(GROUP_S * rate / workers), math.ceil(jobs / workers / 4))
    # Not so few that all dispatches together leave slots empty: of a slow model a quarter of a second is no whole job.
    group = min(most_group, max(wanted, math.ceil(jobs / dispatches)))
    suspects = max(1, min(MOST_SUSPECTS, int(SUSPECTS_S / latency_s)))
    return Window(jobs=jobs, dispatches=dispatches, group=group, suspects=suspects)
