"""Bounds that hold for every finite number of rows: how good, or how common, something is at least, or at most.

Each is derived, with its source, in docs/guarantees.md. None of them rests on a normal approximation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from orchestrator.errors import InvalidRequest

Floats = NDArray[np.float64]

_BET: Final = 0.75
"""The largest part of the capital that one row may lose."""
_HALVINGS: Final = 60
_MOST_ROWS: Final = 10_000_000
"""More than anybody labels: what would need more is told as out of reach."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Rows of one part of the traffic: its known share, and how many of the rows drawn from it are right."""

    share: float
    right: int
    n: int


def binomial_lower(right: int, n: int, delta: float) -> float:
    """The quality that `right` of `n` rows show at least, but for a chance of `delta` (Clopper and Pearson, one side)."""
    _check_counts(right, n)
    _check_delta(delta)
    return float(betaincinv(right, n - right + 1, delta)) if right else 0.0


def binomial_upper(right: int, n: int, delta: float) -> float:
    """The quality that `right` of `n` rows show at most, but for a chance of `delta` (Clopper and Pearson, one side)."""
    _check_counts(right, n)
    _check_delta(delta)
    return float(betaincinv(right + 1, n - right, 1.0 - delta)) if right < n else 1.0


def binomial_interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson: it covers the quality with a chance of at least `level`; (0, 1) for no rows."""
    if not 0.0 < level < 1.0:
        raise InvalidRequest(f"The level {level} of an interval must lie between 0 and 1, such as 0.95.")
    tail = (1.0 - level) / 2.0
    return binomial_lower(right, n, tail), binomial_upper(right, n, tail)


def binomial_p(right: int, n: int, target: float) -> float:
    """The p-value of "the quality lies below `target`": how likely so many right rows are at exactly the target."""
    _check_counts(right, n)
    _check_target(target)
    return float(binomial_ps(np.asarray([right]), np.asarray([n]), target)[0])


def binomial_ps(right: NDArray[Any], n: NDArray[Any], target: float) -> Floats:
    """`binomial_p` of many counts at once, unchecked: `right` of `n` rows each."""
    hits = np.asarray(right, dtype=np.float64)
    tails = betainc(np.maximum(hits, 1.0), np.maximum(n - hits, 0.0) + 1.0, target)
    return np.where(hits > 0.0, tails, 1.0)


def rows_needed(target: float, delta: float, wrong: int = 0) -> int:
    """The fewest rows that show `target` with `delta` where no more than `wrong` of them are wrong."""
    _check_target(target)
    _check_delta(delta)
    return _fewest(lambda n: n > wrong and binomial_p(n - wrong, n, target) <= delta) or _MOST_ROWS


def rows_expected(quality: float, target: float, delta: float) -> int | None:
    """About how many rows of that quality would show `target` with `delta` in four cases of five; None if no number would.

    A forecast, and no bound: it takes the quality as known, and its spread as normal.
    """
    _check_target(target)
    _check_delta(delta)
    if quality <= target:
        return None

    def shows(n: int) -> bool:
        wrong = n * (1.0 - quality) + 0.84 * math.sqrt(n * quality * (1.0 - quality))
        return wrong < n and float(betainc(n - wrong, wrong + 1.0, target)) <= delta

    return _fewest(shows)


def betting_lower(values: Sequence[float], delta: float) -> float:
    """The mean that values in [0, 1] show at least, but for a chance of `delta`, by betting against each smaller mean.

    The values stand in the order in which their rows were drawn: an order that depends on them breaks the bound.
    """
    return weighted_lower(values, [1.0] * len(values), 1.0, delta)


def weighted_lower(values: Sequence[float], probabilities: Sequence[float], floor: float, delta: float) -> float:
    """The mean over the whole traffic that rows drawn with unequal, known probabilities show at least.

    Each row's probability (at least `floor`) was set before its value was known; rows stand in the order in which they were drawn.
    Rows that were not drawn are not needed: for them nothing is bet. Source: Waudby-Smith and Ramdas (2024), with the bet bounded
    by the floor; docs/guarantees.md has the proof.
    """
    _check_delta(delta)
    drawn, chance = np.asarray(values, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    _check_weighted(drawn, chance, floor)
    if not len(drawn) or not drawn.any():
        return 0.0
    bets = _bets(drawn, chance, delta)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _gains(drawn, chance, floor, bets, middle) >= -math.log(delta):
            low = middle
        else:
            high = middle
    return low


def stratified_lower(strata: Sequence[Stratum], delta: float) -> float:
    """The quality over all strata at least: each has an exact bound of its own, and they share `delta` evenly.

    A stratum without rows counts with quality 0.
    """
    _check_delta(delta)
    if not strata or any(not 0.0 <= one.share <= 1.0 for one in strata):
        raise InvalidRequest("Strata need shares from 0 to 1. Give one stratum for each part of the traffic.")
    if abs(sum(one.share for one in strata) - 1.0) > 1e-6:
        raise InvalidRequest("The shares of the strata must add up to 1. Add the part of the traffic that is missing.")
    known = sum(one.n > 0 and one.share > 0.0 for one in strata)
    return sum(one.share * binomial_lower(one.right, one.n, delta / max(1, known)) for one in strata)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value as it counts when all of them are looked at: what is at most delta then may be rejected together (Holm)."""
    if any(not 0.0 <= value <= 1.0 for value in p_values):
        raise InvalidRequest("A p-value lies between 0 and 1. Give probabilities, and no percentages.")
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = least
    return adjusted


def _bets(values: Floats, chance: Floats, delta: float) -> Floats:
    """How much is bet on each row, from the rows before it alone: about the best for the spread that they show."""
    n, before = len(values), np.arange(1, len(values) + 1)
    means = (0.5 + np.concatenate(([0.0], np.cumsum(values / chance)[:-1]))) / (
        1.0 + np.concatenate(([0.0], np.cumsum(1.0 / chance)[:-1]))
    )
    squares = ((values - means) / chance) ** 2
    spread = (0.25 + np.concatenate(([0.0], np.cumsum(squares)[:-1]))) / before
    return np.sqrt(-2.0 * math.log(delta) / (n * spread))


def _gains(values: Floats, chance: Floats, floor: float, bets: Floats, mean: float) -> float:
    """The logarithm of the most that the capital ever was in bets against `mean`: a fall at the end takes no proof back."""
    if mean <= 0.0:
        return math.inf
    most = np.minimum(bets, _BET * floor / mean)
    return float(np.cumsum(np.log1p(most * (values - mean) / chance)).max())


def _fewest(shows: Any) -> int | None:
    """The smallest number of rows that will do, for what more rows make easier; None where even the most would not."""
    high = 1
    while not shows(high):
        high *= 2
        if high > _MOST_ROWS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _check_counts(right: int, n: int) -> None:
    if not 0 <= right <= n:
        raise InvalidRequest(
            f"{right} of {n} rows cannot be right. Count the right ones among those that were looked at."
        )


def _check_delta(delta: float) -> None:
    if not 0.0 < delta < 0.5:
        raise InvalidRequest(
            f"delta is {delta}, and must lie between 0 and 0.5. Use 0.05 for a chance of 5%.", param="delta"
        )


def _check_target(target: float) -> None:
    if not 0.0 < target < 1.0:
        raise InvalidRequest(f"The target is {target}, and must lie between 0 and 1. Use 0.98 for 98%.", param="target")


def _check_weighted(values: Floats, chance: Floats, floor: float) -> None:
    if values.ndim != 1 or values.shape != chance.shape:
        raise InvalidRequest("Each value needs one probability. Give two lists of the same length.")
    if not np.all((values >= 0.0) & (values <= 1.0)):  # NaN fails it too
        raise InvalidRequest("Values must lie between 0 and 1. Divide by the largest that there can be.")
    if not 0.0 < floor <= 1.0 or not np.all((chance >= floor) & (chance <= 1.0)):
        raise InvalidRequest(
            f"Each probability must lie between the floor ({floor}) and 1. Set the floor before rows are drawn, and keep to it."
        )
