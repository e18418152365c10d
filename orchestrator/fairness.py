"""Who is served next, and how much is sent at once. Pure, apart from the counters that a Shares object keeps in memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

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


class Ranked(Protocol):
    """What ranking needs to know of a lane."""

    @property
    def id(self) -> int:
        """The lane."""

    @property
    def tenant_id(self) -> int:
        """Whose it is."""

    @property
    def urgent(self) -> bool:
        """Whether its deadline is near."""


L = TypeVar("L", bound=Ranked)


@dataclass(slots=True)
class Shares:
    """How much each tenant and each lane was served at one model; those served least go first.

    A newcomer starts level with the least served of the others: it is neither favoured for its past nor made to wait.
    """

    tenants: dict[int, float] = field(default_factory=dict)
    lanes: dict[int, float] = field(default_factory=dict)

    def rank(self, lanes: Collection[L]) -> list[L]:
        """The lanes in the order in which they are served: urgent ones, then by tenant and lane served least."""
        self._level(self.tenants, {lane.tenant_id for lane in lanes})
        self._level(self.lanes, {lane.id for lane in lanes})
        return sorted(
            lanes, key=lambda lane: (not lane.urgent, self.tenants[lane.tenant_id], self.lanes[lane.id], lane.id)
        )

    def served(self, lane: Ranked, work: float) -> None:
        """Count work given to a lane."""
        self.tenants[lane.tenant_id] += work
        self.lanes[lane.id] += work

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


def window(*, slots: int, workers: int, latency_s: float, most_group: int) -> Window:
    """The window of a model, from its live workers' slots and the median seconds of one request."""
    if slots <= 0 or workers <= 0:
        return Window(0, 0, 0, 0)
    latency_s = max(latency_s, FASTEST_S)
    rate = slots / latency_s
    jobs = max(math.ceil(AHEAD * slots), min(int(AHEAD_S * rate), MOST_OUTSTANDING * workers))
    dispatches = MOST_DISPATCHES * workers
    wanted = min(int(GROUP_S * rate / workers), math.ceil(jobs / workers / 4))
    # Not so few that all dispatches together leave slots empty: of a slow model a quarter of a second is no whole job.
    group = min(most_group, max(wanted, math.ceil(jobs / dispatches)))
    suspects = max(1, min(MOST_SUSPECTS, int(SUSPECTS_S / latency_s)))
    return Window(jobs=jobs, dispatches=dispatches, group=group, suspects=suspects)
