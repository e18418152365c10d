"""Sets a threshold from a budget or a quality target, with a statement that holds for a finite number of rows. Pure.

Thresholds are laid out on rows that were fitted, by what was said of them and not by what came of them. On other rows each
has an exact lower bound of its quality and an upper one of its cost, at an even part of delta: so with probability 1 - delta all
of them hold at once, whichever target or budget is asked for, and however often. docs/router.md derives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest
from orchestrator.learned.router import Rule, choose
from orchestrator.rightsizing.guarantees import bounds
from orchestrator.rightsizing.router.figures import Array, curves, steps

STEPS: Final = 20
"""Thresholds that are laid out, at even steps of cost. More would split delta further than they gain."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were not fitted, each prompt once, in an order that is independent of their outcomes."""

    said: NDArray[np.float32]
    """Probabilities [rows, models]."""
    values: NDArray[np.float32]
    """Outcomes [rows, models]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a threshold comes to. The two bounds of all thresholds hold together, each kind with probability 1 - delta."""

    threshold: float
    cost_usd: float
    cost_bound_usd: float
    """The mean cost of a job is at most this."""
    quality: float
    quality_bound: float
    """The share of jobs done well is at least this."""
    shares: tuple[float, ...]
    """Of the jobs, by model."""

    def as_dict(self, models: Sequence[str]) -> dict[str, Any]:
        """The choice as JSON has it; a threshold that no gain reaches is null."""
        return {
            "threshold": self.threshold if math.isfinite(self.threshold) else None,
            "cost_usd": self.cost_usd,
            "cost_bound_usd": self.cost_bound_usd,
            "quality": self.quality,
            "quality_bound": self.quality_bound,
            "shares": dict(zip(models, self.shares, strict=True)),
        }


@dataclass(frozen=True, slots=True)
class Setting:
    """What came of asking for a threshold: a choice, or the nearest one and why it is not issued."""

    issued: bool
    choice: Choice
    more_rows: int | None
    """About how many rows would do, where more would; None where it is issued, or where no number would do."""
    reason: str


def thresholds(said: NDArray[np.float32], costs_usd: Array, count: int = STEPS) -> tuple[float, ...]:
    """Thresholds from 0 (the best model at any price) to infinity (the cheapest), at even steps of the cost they come to."""
    moves = steps(said.astype(np.float64), np.zeros(said.shape), costs_usd)
    cost, slopes = curves(moves, np.ones((1, len(said))))[0][0][1:], moves.thresholds
    wished = slopes > 0  # below 0 a dearer model is expected to do worse
    if not wished.any():
        return (0.0, math.inf)
    cost, slopes = cost[wished], slopes[wished]
    first = float(costs_usd.min())
    places = np.searchsorted(cost, np.linspace(first, cost[-1], count)[1:-1])
    return (0.0, *sorted({float(slopes[at]) for at in np.minimum(places, len(slopes) - 1)}), math.inf)


def choices(laid: Sequence[float], rows: Rows, costs_usd: Array, delta: float) -> tuple[Choice, ...]:
    """Each threshold with its figures on the rows, and with bounds that all hold at once."""
    if not len(rows.said):
        raise InvalidRequest(
            "No rows are left to set a threshold on. Give rows that were not fitted: --outcomes FILE.csv"
        )
    return tuple(_choice(one, rows, costs_usd, delta / len(laid)) for one in laid)


def for_quality(found: Sequence[Choice], target: float, n: int, delta: float) -> Setting:
    """The cheapest threshold whose quality is shown to reach the target."""
    if not 0 < target < 1:
        raise InvalidRequest(f"The quality {target} must lie between 0 and 1, such as 0.8.", param="quality")
    enough = [one for one in found if one.quality_bound >= target]
    if enough:
        best = min(enough, key=lambda one: one.cost_usd)
        return Setting(
            True,
            best,
            None,
            f"At least {_down(best.quality_bound)} of the jobs are done well, and {target:.6g} was asked.",
        )
    best = max(found, key=lambda one: one.quality_bound)
    shown = f"The best that {n:,} rows show is {_down(best.quality_bound)} (observed: {best.quality:.4f}), and {target:.6g} was asked."
    more = bounds.rows_expected(best.quality, target, delta / len(found)) if best.quality > target else None
    if more is None:
        return Setting(
            False, best, None, f"{shown} No number of rows would do: lower the quality, or add a better model."
        )
    return Setting(
        False, best, max(more, n + 1), f"{shown} About {max(more, n + 1):,} rows would do: give them with --outcomes."
    )


def for_budget(found: Sequence[Choice], budget_usd: float, costs_usd: Array) -> Setting:
    """The best threshold whose mean cost is shown to stay within the budget for a job."""
    if not (math.isfinite(budget_usd) and budget_usd > 0):
        raise InvalidRequest(f"The budget {budget_usd} must be more than 0 US dollars a job.", param="budget")
    if budget_usd < costs_usd.min():
        raise InvalidRequest(
            f"Even the cheapest model takes {costs_usd.min():.6g} US dollars a job, and the budget is {budget_usd:.6g}. Raise it.",
            param="budget",
        )
    # The last threshold is always among them: what the cheapest model takes is known, and no estimate.
    best = max((one for one in found if one.cost_bound_usd <= budget_usd), key=lambda one: one.quality)
    reason = f"A job takes at most {best.cost_bound_usd:.6g} US dollars on the mean, and {budget_usd:.6g} may be spent."
    return Setting(True, best, None, reason)


def _choice(threshold: float, rows: Rows, costs_usd: Array, delta: float) -> Choice:
    chosen = choose(rows.said, costs_usd.tolist(), Rule(threshold))
    reached = rows.values[np.arange(len(chosen)), chosen].astype(np.float64)
    paid = costs_usd[chosen]
    return Choice(
        threshold=threshold,
        cost_usd=float(paid.mean()),
        cost_bound_usd=_cost_bound(paid, costs_usd, delta, cheapest=math.isinf(threshold)),
        quality=float(reached.mean()),
        quality_bound=_quality_bound(reached, delta),
        shares=tuple(float((chosen == model).mean()) for model in range(len(costs_usd))),
    )


def _quality_bound(reached: Array, delta: float) -> float:
    """Exact for outcomes of 0 and 1; by betting for partial ones."""
    if np.isin(reached, (0.0, 1.0)).all():
        return bounds.binomial_lower(int(reached.sum()), len(reached), delta)
    return bounds.betting_lower(reached.tolist(), delta)


def _cost_bound(paid: Array, costs_usd: Array, delta: float, *, cheapest: bool) -> float:
    low, high = float(costs_usd.min()), float(costs_usd.max())
    if cheapest:
        return low  # whatever comes
    if len(np.unique(costs_usd)) == 2:
        return low + (high - low) * bounds.binomial_upper(int((paid == high).sum()), len(paid), delta)
    return high - (high - low) * bounds.betting_lower(((high - paid) / (high - low)).tolist(), delta)


def _down(bound: float) -> str:
    """A bound, never rounded up."""
    return f"{math.floor(bound * 10_000) / 10_000:.4f}"
