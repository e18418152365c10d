"""When a delivery that failed is tried again: soon at first, then every eight hours, for three days in all (pure)."""

from __future__ import annotations

from typing import Final

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
SPREAD: Final = 0.2
"""The part of a delay that jitter may take off, so that a receiver that comes back is not met by all at once."""

DELAYS_S: Final = (
    5.0, 30.0,
    2 * MINUTE_S, 10 * MINUTE_S, 30 * MINUTE_S,
    1 * HOUR_S, 2 * HOUR_S, 4 * HOUR_S,
    *(8 * HOUR_S,) * 8,
)  # fmt: skip
"""After the first attempt, the second, and so on; 71.7 hours together."""


def next_after_s(attempt: int, jitter: float, asked_s: float | None = None) -> float | None:
    """The seconds from the end of a failed attempt to the next; None when it was the last one.

    `attempt` counts from 1. `jitter` is a random number from 0 up to 1, and only ever shortens. `asked_s` is what the receiver
    asked for (`Delivery.retry_after_s`, an hour at most): it is waited for where it is longer.
    """
    if attempt > len(DELAYS_S):
        return None
    delay_s = DELAYS_S[attempt - 1] * (1 - SPREAD * jitter)
    return max(delay_s, asked_s or 0.0)
