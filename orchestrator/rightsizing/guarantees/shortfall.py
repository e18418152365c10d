"""What an attempt to certify lacked: how many fresh labelled rows the next one would probably need.

A forecast from what was observed, and no bound: it takes part in no guarantee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.rightsizing.guarantees.bounds import rows_expected, rows_needed

_EVEN: Final = 0.4999
"""As good as a half: with fewer rows than show a target by this, nothing can be said of it."""
_AMPLE: Final = 6.0
"""So many times the rows that would do if all were right: three times, on half of the traffic."""
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How many rows would probably do (None: no number of them), and whether that could be told from what was observed."""

    rows: int | None
    is_clear: bool

    def advice(self, n: int) -> str:
        """What to do after an attempt with `n` rows."""
        if self.rows is None:
            return "No number of labels would do: the observed quality lies below the target. Train it better, or lower the target."
        if not self.is_clear:
            return f"{n:,} rows are too few to tell how good it is. Label about {self.rows:,} fresh ones, and certify again."
        return f"If it goes on as observed, about {self.rows:,} fresh labelled rows would do: label them, and certify again."


def shortfall(
    accepted: NDArray[Any], right: NDArray[Any], n: int, target: float, delta: float, next_delta: float
) -> Shortfall:
    """What was lacking where each threshold, from high to low, accepted so many of `n` rows, and so many of those were right.

    `delta` was there for this attempt, `next_delta` will be for the next one, of which a threshold may get half.
    """
    unclear = Shortfall(max(2 * n, math.ceil(_AMPLE * rows_needed(target, next_delta / 2.0))), is_clear=False)
    seen = accepted >= rows_needed(target, _EVEN)
    if not seen.any():
        return unclear
    taken, wrong = accepted[seen], accepted[seen] - right[seen]
    quality = 1.0 - np.maximum(wrong, 0.5) / (taken + (wrong == 0))
    best = int(np.argmax((quality - target) * np.sqrt(taken / (quality * (1.0 - quality) + _TINY))))
    if quality[best] <= target:
        return Shortfall(None, is_clear=True) if taken[-1] >= rows_needed(target, delta) else unclear
    # The best of many looks better than it is: one more wrong answer than was seen is reckoned with.
    rows = rows_expected(1.0 - (wrong[best] + 1.0) / (taken[best] + 2.0), target, next_delta / 2.0)
    return unclear if rows is None else Shortfall(max(n, math.ceil(rows * n / taken[best])), is_clear=True)
