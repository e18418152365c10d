"""What all documents would come to, by a random sample of them: simple random sampling without replacement. Pure.

The total is the mean times the count; its standard deviation is N s sqrt((1 - n/N) / n), after Cochran, "Sampling Techniques" (1977),
section 2.5, and its bounds are Student's t with n - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from statistics import mean, stdev
from typing import Final

from orchestrator.forecasting.prediction import Bounds, student

LEAST: Final = 2
"""Documents of which anything can be said about the others."""


def total_of(seen: Sequence[Decimal], count: int) -> Bounds | None:
    """The total over `count` documents of which some were seen, with an interval that holds four times in five; None for too few."""
    values = [float(one) for one in seen]
    if len(values) < LEAST:
        return None
    expected = mean(values) * count
    off = student(len(values) - 1) * count * stdev(values) * math.sqrt(max(0.0, 1 - len(values) / count) / len(values))
    return Bounds(expected, max(0.0, expected - off), expected + off)
