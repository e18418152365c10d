"""From which score on a model may answer alone, with a guarantee that holds for every finite number of rows.

Thresholds are tested in an order that was fixed before any label was looked at. A test that rejects "the quality lies below the
target" hands its part of delta on to the next one; one that does not ends the run, until a further start brings a part of its own.
The lowest threshold that any run certified is taken. The proof is in docs/guarantees.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.guarantees.bounds import (
    Floats,
    binomial_interval,
    binomial_lower,
    binomial_ps,
)
from orchestrator.rightsizing.guarantees.shortfall import shortfall

Counts = NDArray[np.int64]
Rights = NDArray[np.bool_]

STEPS: Final = 200
STARTS: Final = 4
MOST_STEPS: Final = 10_000
MOST_STARTS: Final = 20
MOST_ATTEMPTS: Final = 1_000
_TINY: Final = 1e-12
_FIRST: Final = 3.0
"""The first start has so many times the rows that would do if all were right: so a few may be wrong."""
_SCARCE: Final = 0.5
"""Where that is more than this share of the rows, they are scarce: the first start then lies here, or deeper if it must."""
_FIRST_SCARCE: Final = 1.25
_HEAVY: Final = 0.7
"""The part of delta that the first start then gets."""
_LAST_SHARE: Final = 0.6
"""Between the first start and this share lie the others,"""
_PEAK: Final = 2.0 / 3.0
"""and so far on from the first to the last has a start the most of delta: few rows lie before it, and few thresholds behind it."""
_LEARNED: Final = 0.9
"""The part of delta that goes to the start which fitting rows propose,"""
_HOPE: Final = 0.05
"""if they give it at least this chance to pass."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One labelled row: the score of the model's answer, and whether it was right."""

    score: float
    right: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """Thresholds from high to low, and the share of the traffic that scores each of them or more, by unlabelled rows."""

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked: quality of at least `target`, but for a chance of `delta` over all attempts of a task; this is number `attempt`."""

    target: float
    delta: float = 0.05
    attempt: int = 1
    starts: int = STARTS

    @property
    def spends(self) -> float:
        """The part of delta for this attempt: 6/(pi^2 j^2) of it, so that all attempts there can ever be spend no more than delta."""
        return self.delta * 6.0 / (math.pi * self.attempt) ** 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of it: a threshold with its figures, or none and what would be needed.

    `accepted`, `errors` and `bound` are those of the threshold, or, where nothing is issued, of the one that came nearest.
    `bound` is the exact lower bound at the part of delta at which that threshold was tested.
    """

    issued: bool
    threshold: float | None
    share: float
    share_interval: tuple[float, float] | None
    """Of the share, by itself, at 95%; None where nothing is issued."""
    target: float
    delta: float
    delta_spent: float
    n: int
    accepted: int
    errors: int
    bound: float
    more_labels: int | None
    """Fresh rows that the next attempt would probably need; None where it is issued, or where no number would do."""
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "share_interval": None if self.share_interval is None else list(self.share_interval)}


def grid(unlabelled_scores: Sequence[float] | Floats, steps: int = STEPS) -> Grid:
    """Thresholds at evenly spaced quantiles of scores; equal ones stand once, and 0 never: it is the score of what no model should answer.

    The scores come from rows that are not certified with (fitting rows, or traffic without labels): with the certification rows' own
    scores, how many of them are right would no longer be binomial.
    """
    scores = _finite(unlabelled_scores)
    if not 1 <= steps <= MOST_STEPS:
        raise InvalidRequest(f"{steps} steps are not possible. Use 1 to {MOST_STEPS:,}; {STEPS} is a good number.")
    if not scores.any():
        raise InvalidRequest(
            "There are no scores above 0 to set thresholds by. Give scores of unlabelled rows of this task."
        )
    ordered = np.sort(scores)[::-1]
    ranks = np.unique(np.ceil(np.arange(1, steps + 1) * len(ordered) / steps).astype(int)) - 1
    in_scope = ordered[ordered > 0.0]
    thresholds = np.unique([*ordered[ranks[ranks < len(in_scope)]], in_scope[-1]])[::-1]
    shares = np.searchsorted(-ordered, -thresholds, side="right") / len(ordered)
    return Grid(tuple(thresholds.tolist()), tuple(shares.tolist()))


def certify(rows: Sequence[Scored], thresholds: Grid, demand: Demand, fitted: Sequence[Scored] = ()) -> Finding:
    """Choose the lowest threshold from which on the model's answers are certified to reach the target.

    `rows` are the certification rows: drawn at random from the traffic, each text once, none of them used for fitting, for the grid
    or in an earlier attempt. `fitted` may hold scored rows that are not certification rows: they propose where to start, and decide nothing.
    Raises InvalidRequest for what cannot be certified with.
    """
    if not rows:
        raise InvalidRequest(
            "There are no rows to certify with. Label some that are drawn at random: `rightsize label`."
        )
    levels = starts(thresholds, len(rows), demand, fitted)
    accepted, right = counts(*_arrays(rows), thresholds)
    return decide(thresholds, accepted, right, len(rows), levels, demand)


def starts(thresholds: Grid, n: int, demand: Demand, fitted: Sequence[Scored] = ()) -> Floats:
    """The part of delta that each threshold brings, before any certification row is looked at: 0 for all but the starts."""
    _check(thresholds, n, demand)
    shares = np.asarray(thresholds.shares)
    wanted, parts = _laid(n, demand)
    levels = np.zeros(len(shares))
    left = demand.spends
    if fitted and (proposed := _proposed(thresholds, n, demand, fitted)) is not None:
        levels[proposed] += _LEARNED * left
        left -= _LEARNED * left
    np.add.at(levels, np.minimum(np.searchsorted(shares, wanted - _TINY), len(shares) - 1), left * parts)
    return levels


def _laid(n: int, demand: Demand) -> tuple[Floats, Floats]:
    """At which shares the starts lie, and which part of delta each has: whatever the scores and the labels are."""
    least = math.log(demand.spends) / math.log(demand.target) / n  # the share that would do if all its rows were right
    first, last = _FIRST * least, _LAST_SHARE
    places = np.linspace(0.0, 1.0, demand.starts)
    parts = 1.0 + 3.0 * np.minimum(places, 2.0 * _PEAK - places)
    if first > _SCARCE:
        first = min(1.0, max(_SCARCE, _FIRST_SCARCE * least))
        last = max(last, (1.0 + first) / 2.0)
        parts[1:] = (1.0 - _HEAVY) / max(1, demand.starts - 1)
        parts[0] = _HEAVY
    return np.linspace(first, max(first, last), demand.starts), parts / parts.sum()


def counts(scores: Floats, right: Rights, thresholds: Grid) -> tuple[Counts, Counts]:
    """How many rows each threshold accepts, and how many of these are right."""
    rising = np.asarray(thresholds.thresholds)[::-1]
    return _at_least(rising, scores), _at_least(rising, scores[right])


def decide(thresholds: Grid, accepted: Counts, right: Counts, n: int, levels: Floats, demand: Demand) -> Finding:
    """Walk through the thresholds in their order, and take the lowest one certified."""
    p_values = binomial_ps(right, accepted, demand.target)
    carried, taken, tested = 0.0, -1, np.zeros(len(levels))
    for at, own in enumerate(levels):
        level = carried + own
        rejects = level > 0.0 and p_values[at] <= level
        if rejects:
            taken = at
        tested[at] = level
        carried = level if rejects else 0.0
    nearest = int(np.argmin(np.where(tested > 0.0, p_values, np.inf)))
    at = taken if taken >= 0 else nearest
    hits, few = int(right[at]), int(accepted[at])
    found = Finding(
        issued=taken >= 0,
        threshold=thresholds.thresholds[at],
        share=few / n,
        share_interval=binomial_interval(few, n),
        target=demand.target,
        delta=demand.delta,
        delta_spent=demand.spends,
        n=n,
        accepted=few,
        errors=few - hits,
        bound=binomial_lower(hits, few, float(tested[at])),
        more_labels=None,
        reason="",
    )
    return _issued(found) if found.issued else _refused(found, accepted, right, demand)


def _issued(found: Finding) -> Finding:
    told = (
        f"{found.errors} of {found.accepted:,} accepted answers are wrong: at least {_floor(found.bound)} are right, "
        f"and {_percent(found.target)} is asked."
    )
    return replace(found, reason=told)


def _refused(found: Finding, accepted: Counts, right: Counts, demand: Demand) -> Finding:
    coming = replace(demand, attempt=demand.attempt + 1).spends
    lacking = shortfall(accepted, right, found.n, demand.target, demand.spends, coming)
    reason = f"{_nearest(found)} {lacking.advice(found.n)}"
    return replace(found, threshold=None, share=0.0, share_interval=None, more_labels=lacking.rows, reason=reason)


def _nearest(found: Finding) -> str:
    if not found.accepted:
        return "Nothing is issued: no row reaches a score at which it could be."
    return (
        f"Nothing is issued: at the threshold that came nearest {found.errors} of {found.accepted:,} accepted answers are wrong, "
        f"which shows {_floor(found.bound)}, and {_percent(found.target)} is asked."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.6g}%"


def _floor(value: float) -> str:
    """A bound, never rounded up."""
    return _percent(math.floor(value * 10_000 + 1e-6) / 10_000)


def _proposed(thresholds: Grid, n: int, demand: Demand, fitted: Sequence[Scored]) -> int | None:
    """The threshold that would pass most surely, with `n` rows, if fitting rows told the truth; None where hardly any would."""
    from scipy.stats import binom  # takes a second to import, and only this needs it

    accepted, right = counts(*_arrays(fitted), thresholds)
    rows = np.maximum(1, np.round(n * np.asarray(thresholds.shares))).astype(int)
    allowed = binom.ppf(_LEARNED * demand.spends, rows, 1.0 - demand.target) - 1  # so many may be wrong
    passes = np.round(binom.cdf(allowed, rows, (accepted - right + 1.0) / (accepted + 1.0)), 3)
    lowest = len(passes) - 1 - int(np.argmax(passes[::-1]))  # of those alike
    return lowest if passes[lowest] >= _HOPE else None


def _arrays(rows: Sequence[Scored]) -> tuple[Floats, Rights]:
    return _finite([row.score for row in rows]), np.asarray([row.right for row in rows], dtype=bool)


def _at_least(rising: Floats, scores: Floats) -> Counts:
    """For each threshold, from high to low, how many scores reach it."""
    return (len(scores) - np.searchsorted(np.sort(scores), rising, side="left"))[::-1].astype(np.int64)


def _finite(values: Sequence[float] | Floats) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not np.all((scores >= 0.0) & (scores <= 1.0)):  # NaN fails it too
        raise InvalidRequest(
            "Scores must be numbers from 0 to 1. Score every row with the model that is to be certified."
        )
    return scores


def _check(thresholds: Grid, n: int, demand: Demand) -> None:
    if n < 1:
        raise InvalidRequest(
            "There are no rows to certify with. Label some that are drawn at random: `rightsize label`."
        )
    if not 0.0 < demand.target < 1.0:
        raise InvalidRequest(
            f"The target is {demand.target}, and must lie between 0 and 1. Use 0.98 for 98%.", param="target"
        )
    if not 0.0 < demand.delta < 0.5:
        raise InvalidRequest(
            f"delta is {demand.delta}, and must lie between 0 and 0.5. Use 0.05 for a chance of 5%.", param="delta"
        )
    if not 1 <= demand.attempt <= MOST_ATTEMPTS or not 1 <= demand.starts <= MOST_STARTS:
        raise InvalidRequest(
            f"Attempts count from 1 to {MOST_ATTEMPTS:,}, and there are 1 to {MOST_STARTS} starts. 4 starts do well."
        )
    if not thresholds.thresholds or len(thresholds.thresholds) != len(thresholds.shares):
        raise InvalidRequest(
            "There are no thresholds to test. Make them with grid(...) from the scores of unlabelled rows."
        )
    if any(np.diff(thresholds.thresholds) >= 0.0) or any(np.diff(thresholds.shares) <= 0.0):
        raise InvalidRequest(
            "Thresholds must fall, and their shares rise. Make them with grid(...) from the scores of unlabelled rows."
        )
