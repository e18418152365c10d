"""How long an engine's steps took: a histogram of bounded size from which percentiles are read. Pure."""

from __future__ import annotations

import math
from typing import Final

WIDTH: Final = 1.02
"""From bucket to bucket: a percentile is right within one per cent."""
SHORTEST_S: Final = 1e-6


class StepTimes:
    """Counts of steps by their time; one more costs a logarithm and no memory worth speaking of."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one step."""
        bucket = round(math.log(max(seconds, SHORTEST_S), WIDTH))
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1

    def percentile(self, share: float) -> float | None:
        """Seconds that this share of the steps did not exceed; None where there was none."""
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= share * self.count:
                return float(WIDTH**bucket)
        return None
