"""The axis of a plot: where a value stands on it, and its ticks. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDE: Final = 30.0
"""From this ratio of the largest value to the smallest an axis is logarithmic."""
MOST_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`, which lie at ticks or a little beyond the values."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value stands, from 0 at the low end to 1 at the high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def scale_of(values: Sequence[float]) -> Scale:
    """The scale for values above 0: logarithmic where they differ by more than 30 times, else from 0."""
    low, high = min(values), max(values)
    if high / low > WIDE:
        ticks = _log_ticks(low, high)
        return Scale(min(low / 1.15, ticks[0]), max(high * 1.15, ticks[-1]), True, ticks)
    step = _step(high)
    many = math.ceil(high / step - 1e-9)
    return Scale(0.0, step * many, False, tuple(step * number for number in range(many + 1)))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Ticks at 1, 2 and 5 of each decade, or at decades, or at every second one and so on: at most eight."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in steps]
        inner = tuple(tick for tick in ticks if low / 1.15 <= tick <= high * 1.15)
        if 2 <= len(inner) <= MOST_TICKS:
            return inner
    every = math.ceil((last - first + 1) / MOST_TICKS)
    return tuple(10.0**power for power in range(first, last + 1, every))


def _step(high: float) -> float:
    """The distance of ticks from 0 up to a value: 1, 2 or 5 of a decade, so that there are at most six of them."""
    power = 10.0 ** math.floor(math.log10(high / 5))
    return next(digit * power for digit in (1, 2, 5, 10) if high / (digit * power) <= 6)
