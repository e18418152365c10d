"""The axes of the plots: where a value stands, and round values to mark. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TICKS: Final = 7


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis whose values go from `low` to `high`."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def cost_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis for sums above 0: at least a decade, with some room at both ends."""
    low, high = min(values) / 1.6, max(values) * 1.6
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Axis(low, high, True, _decades(low, high))


def _decades(low: float, high: float) -> tuple[float, ...]:
    """Marks at 1, 2 and 5 of each decade, or at decades, or at every second of them and so on."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1,)):
        found = tuple(
            value
            for power in range(first, last + 1)
            for digit in digits
            if low <= (value := digit * 10.0**power) <= high
        )
        if 2 <= len(found) <= MOST_TICKS:
            return found
    every = max(1, math.ceil((last - first + 1) / MOST_TICKS))
    return tuple(value for power in range(first, last + 1, every) if low <= (value := 10.0**power) <= high)


def share_axis(values: Sequence[float]) -> Axis:
    """An axis for shares from 0 to 1 that shows what is there, with some room for labels."""
    low, high = min(values), max(values)
    room = max(0.004, 0.08 * (high - low))
    low, high = max(-0.03, low - room), high + 1.4 * room
    step = _step(high - low)
    first, last = math.ceil(max(0.0, low) / step - 1e-9), math.floor(min(1.0, high) / step + 1e-9)
    return Axis(low, high, False, tuple(round(step * number, 9) for number in range(first, last + 1)))


def _step(reach: float) -> float:
    """The distance of marks: 1, 2 or 5 of a decade, so that there are at most six."""
    power = 10.0 ** math.floor(math.log10(reach / 5))
    return next(digit * power for digit in (1, 2, 5, 10) if reach / (digit * power) <= 6)
