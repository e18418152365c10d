"""How many bulk requests an engine should hold: a little more than it can run at once, by its own report. Pure.

It is the second bound: `workers.room` keeps out what the cache will not hold, where the engine tells how large that is.

An engine is kept full by one tenth more than what it runs (Ray Data LLM's figure; its scheduler then never waits for us), and not
by more: what waits inside it cannot be taken back, holds memory, and stands before interactive work. What it can run moves
with the length of requests, since the key-value cache is the limit; errors and preemptions come too late to steer by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workers.engines.base import Load

AHEAD: Final = 1.1
LEAST_AHEAD: Final = 2
GROWTH: Final = 1.5
"""At most so much more from look to look: what was let in must show in the report first."""
KV_FULL: Final = 0.92
"""No more is let in beyond this share of the cache, also as it will be `HORIZON_S` from now."""
KV_BRIM: Final = 0.98
"""The same where each request was let in by what it will take: only what was not foreseen is left to see to."""
HORIZON_S: Final = 1.0
BACK: Final = 0.8
"""Of what it runs after a preemption: the engine was overfull already. Otherwise the most that one look takes away."""
CALM_S: Final = 2.0
BLIND: Final = 0.5
"""While a report that there was cannot be read: less work, never more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look found."""

    limit: int
    kv_use: float = 0.0
    preemptions: int = 0
    calm_s: float = 0.0
    """Until a further preemption counts: what was let in before the last step back still runs."""


def next_limit(
    seen: Seen,
    load: Load | None,
    *,
    held: int,
    inside: int,
    wanted: int,
    most: int,
    least: int,
    elapsed_s: float,
    foreseen: bool = False,
) -> Seen:
    """The limit until the next look.

    `held` bulk requests are in the engine for us and `inside` in all, `wanted` wait before the gate; the limit stays between
    `least` and `most`; `foreseen` says that each was let in by what it will take of the cache. Of what the engine runs, as much is ours as we have of all that it holds: others may use it too.
    """
    if load is None:
        return Seen(_within(round(seen.limit * BLIND), least, most), seen.kv_use, seen.preemptions)
    preempted = load.preemptions > seen.preemptions
    rising = max(0.0, load.kv_use - seen.kv_use) / elapsed_s if elapsed_s > 0 else 0.0
    forecast = load.kv_use + rising * HORIZON_S
    share = min(1.0, inside / max(1, load.running + load.waiting))
    running = load.running * share
    too_many = load.waiting * share - (AHEAD - 1) * running
    calm_s = max(0.0, seen.calm_s - elapsed_s)
    if preempted and not calm_s:
        limit, calm_s = round(BACK * running), CALM_S
    elif preempted:
        limit = min(seen.limit, held)
    elif load.waiting:
        # It has all that it can run: a tenth as much may wait, and no growth before nothing waits.
        # A burst waits for its turn in the first steps only: no look takes more than a fifth away.
        limit = min(seen.limit, max(round(held - max(0.0, too_many)), LEAST_AHEAD, round(BACK * seen.limit)))
    elif load.kv_use >= KV_BRIM if foreseen else forecast >= KV_FULL:
        # Nothing new: what ends is replaced once there is room again.
        limit = min(seen.limit, held)
    elif wanted or held >= seen.limit:
        limit = max(seen.limit + 1, round(seen.limit * GROWTH))
    else:
        limit = seen.limit
    return Seen(_within(limit, least, most), load.kv_use, load.preemptions, calm_s)


def _within(limit: int, least: int, most: int) -> int:
    return max(min(limit, most), min(least, most))
