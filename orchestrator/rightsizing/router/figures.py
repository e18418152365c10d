"""How good an order of jobs is for routing: cost-quality curve, performance gap recovered, call-performance thresholds. Pure.

The definitions are those of RouteLLM (Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", 2024,
arXiv:2406.18665, section 3), with the integral taken over every step of the curve instead of ten of them, and with costs
in place of the share of calls where there are more than two models:

- `PGR = (quality - quality of the cheapest) / (quality of the dearest - quality of the cheapest)`;
- `APGR` is the mean of PGR over costs from all jobs on the cheapest (0) to all on the dearest (1); mixing at random has 0.5;
- `CPT(x)` is the least cost, on the same scale, at which PGR reaches x; mixing at random has x.

With two models that scale is the share of calls that the dearer one gets. A curve runs through the thresholds of
`choose`: from one so high that no gain is worth a dollar, through 0, to one so low that every job goes to the dearest model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InvalidRequest

Array = NDArray[np.float64]

DRAWS: Final = 1_000
"""Of a bootstrap: the 2.5th and 97.5th percentile rest on 25 draws each."""
_LEAST_DRAWS: Final = 100
_MOST_DRAWN: Final = 50_000_000
"""Rows of all draws together, from where on fewer draws do: of so many rows they hardly differ."""
_AT_ONCE: Final = 4_000_000
"""Numbers of one block of draws, at most: 32 MB."""
REACHED: Final = (0.5, 0.8)
"""The shares of the gap whose CPT is told."""
_SHOWN: Final = 21
"""Points of a curve as it is told: every twentieth of the way."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The moves along a curve, dearest wish last: at a threshold some rows move to a dearer model."""

    rows: NDArray[np.int64]
    """The row that moves, for each move, in the order of falling thresholds."""
    starts: NDArray[np.int64]
    """Where each threshold's moves begin: what is equally wished happens at once."""
    thresholds: Array
    """Of `choose`, one for each start: just below it its moves are wished."""
    cost_usd: Array
    """What each move adds to its row's cost."""
    quality: Array
    """What each move adds to its row's quality; may be negative."""
    first_cost_usd: Array
    """Each row's cost before any move."""
    first_quality: Array
    """Each row's quality before any move."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that holds 95% of its bootstrap draws."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The figure as JSON has it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a cost-quality curve."""

    share: float
    """Of the way from all jobs on the cheapest model (0) to all on the dearest (1)."""
    cost_usd: float
    quality: Estimate

    def as_dict(self) -> dict[str, Any]:
        """The point as JSON has it."""
        return {"share": self.share, "cost_usd": self.cost_usd, "quality": self.quality.as_dict()}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a router's order comes to on rows whose outcomes are known."""

    n: int
    apgr: Estimate | None
    """None where the dearest model is no better than the cheapest: there is no gap to recover."""
    cpt: dict[str, Estimate | None]
    """By the share of the gap that is reached, such as `50%`."""
    curve: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON has them."""
        return {
            "n": self.n,
            "apgr": self.apgr and self.apgr.as_dict(),
            "cpt": {share: found and found.as_dict() for share, found in self.cpt.items()},
            "curve": [point.as_dict() for point in self.curve],
        }


def steps(probabilities: Array, outcomes: Array, costs_usd: Array) -> Steps:
    """The moves of each row over its models, by what is predicted; their worth, by what came of them.

    Takes [rows, models] twice, and the cost of a job on each model. Every row begins at its best cheapest model and goes on to
    the dearer one that is predicted to gain most a dollar, until it is at the dearest: the upper envelope of its predictions.
    """
    rows = np.arange(len(probabilities))
    at = np.where(costs_usd == costs_usd.min(), probabilities, -np.inf).argmax(axis=1)
    first = at
    moves: list[tuple[Array, Any, Array, Array]] = []
    while True:
        rise = costs_usd[None, :] - costs_usd[at][:, None]
        gain = probabilities - probabilities[rows, at][:, None]
        slope = np.where(rise > 0, gain / np.where(rise > 0, rise, 1), -np.inf)
        to = slope.argmax(axis=1)
        moving = np.flatnonzero(np.isfinite(slope[rows, to]))
        if not len(moving):
            break
        here, there = at[moving], to[moving]
        worth = outcomes[moving, there] - outcomes[moving, here]
        moves.append((slope[moving, there], moving, costs_usd[there] - costs_usd[here], worth))
        at = at.copy()
        at[moving] = there
    if not moves:
        raise InvalidRequest(
            "All models cost the same, so there is nothing to save. Give each its cost: --cost MODEL=USD."
        )
    slopes, moved, cost, quality = (np.concatenate(parts) for parts in zip(*moves, strict=True))
    order = np.argsort(-slopes, kind="stable")
    starts = np.flatnonzero(np.diff(slopes[order], prepend=np.inf) != 0)
    return Steps(
        moved[order],
        starts,
        slopes[order][starts],
        cost[order],
        quality[order],
        costs_usd[first],
        outcomes[rows, first],
    )


def figures(found: Steps, groups: NDArray[Any], *, draws: int | None = None, seed: int = 0) -> Figures:
    """APGR, CPT and curve of an order, with intervals from a bootstrap over groups of rows that belong together."""
    cost, quality = curves(found, np.ones((1, len(found.first_quality))))
    gap = bool(quality[0, -1] > quality[0, 0])
    measure = _measure(cost[0], quality[0])
    drawn = [_measure(*one) for weights in _draws(groups, draws or _enough(len(found.rows)), seed, len(found.rows)) for one in
             zip(*curves(found, weights), strict=True)]  # fmt: skip
    low, high = np.percentile(np.array(drawn), (2.5, 97.5), axis=0)
    told = [Estimate(*map(float, three)) for three in zip(measure, low, high, strict=True)]
    shares = np.linspace(0, 1, _SHOWN)
    first, last = cost[0, 0], cost[0, -1]
    return Figures(
        n=len(found.first_quality),
        apgr=told[0] if gap else None,
        cpt={f"{share:.0%}": one if gap else None for share, one in zip(REACHED, told[1:], strict=False)},
        curve=tuple(
            Point(float(share), float(first + share * (last - first)), one)
            for share, one in zip(shares, told[1 + len(REACHED) :], strict=True)
        ),
    )


def apgr(found: Steps, weights: Array | None = None) -> Array:
    """The average performance gap recovered, for each row of weights [draws, rows]; of the rows as they are without."""
    cost, quality = curves(found, np.ones((1, len(found.first_quality))) if weights is None else weights)
    return np.array([_measure(*one)[0] for one in zip(cost, quality, strict=True)])


def curves(found: Steps, weights: Array) -> tuple[Array, Array]:
    """Mean cost and mean quality after each threshold, first before all: twice [draws, thresholds + 1]."""
    total = weights.sum(axis=1, keepdims=True)
    of_move = weights[:, found.rows]

    def along(first: Array, added: Array) -> Array:
        steps_of = np.add.reduceat(of_move * added, found.starts, axis=1)
        return np.asarray(np.cumsum(np.hstack([weights @ first[:, None], steps_of]), axis=1) / total)

    return along(found.first_cost_usd, found.cost_usd), along(found.first_quality, found.quality)


def compare(one: Steps, other: Steps, groups: NDArray[Any], *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """By how much the APGR of one order is above that of another on the same rows: a paired bootstrap over groups."""
    gaps = [
        apgr(one, weights) - apgr(other, weights)
        for weights in _draws(groups, draws, seed, max(len(one.rows), len(other.rows)))
    ]
    low, high = np.percentile(np.concatenate(gaps), (2.5, 97.5))
    return Estimate(float(apgr(one)[0] - apgr(other)[0]), float(low), float(high))


def mixing(found: Steps) -> list[dict[str, float]]:
    """The curve of mixing the cheapest and the dearest model at random: a straight line between them."""
    cost, quality = (one[0] for one in curves(found, np.ones((1, len(found.first_quality)))))
    return [
        {"share": float(share), "cost_usd": float(cost[0] + share * (cost[-1] - cost[0])),
         "quality": float(quality[0] + share * (quality[-1] - quality[0]))}
        for share in np.linspace(0, 1, _SHOWN)
    ]  # fmt: skip


def best_single(outcomes: Array, costs_usd: Array) -> list[dict[str, float]]:
    """The curve of the best single model for each sum a job: a stair, with the models that are worth their price."""
    low, high = float(costs_usd.min()), float(costs_usd.max())
    means = outcomes.mean(axis=0)
    found: list[dict[str, float]] = []
    for at in np.lexsort((-means, costs_usd)):
        if not found or means[at] > found[-1]["quality"]:
            share = (costs_usd[at] - low) / (high - low) if high > low else 0.0
            found.append(
                {"model": int(at), "share": float(share), "cost_usd": float(costs_usd[at]), "quality": float(means[at])}
            )
    return found


def off_by(said: NDArray[np.float32], values: NDArray[np.float32], parts: int = 10) -> list[float]:
    """How far each model's probabilities are from what came, in the mean over tenths of the rows by what was said (ECE)."""
    found: list[float] = []
    for column, came in zip(said.T.astype(np.float64), values.T.astype(np.float64), strict=True):
        some = np.array_split(np.argsort(column, kind="stable"), parts)
        found.append(float(sum(abs(column[rows].sum() - came[rows].sum()) for rows in some) / len(column)))
    return found


def _measure(cost: Array, quality: Array) -> Array:
    """APGR, CPT of each share that is told, and the quality at the curve's shown points."""
    share = (cost - cost[0]) / (cost[-1] - cost[0])
    gap = quality[-1] - quality[0]
    shown = np.interp(np.linspace(0, 1, _SHOWN), share, quality)
    if gap <= 0:  # may be drawn where the gap is small: then nothing is recovered, and the interval says so
        return np.concatenate([[0.0], np.ones(len(REACHED)), shown])
    recovered = (quality - quality[0]) / gap
    return np.concatenate([[np.trapezoid(recovered, share)], [_first(share, recovered, one) for one in REACHED], shown])


def _first(share: Array, recovered: Array, wanted: float) -> float:
    """The least share at which the curve, straight between its points, reaches what is wanted."""
    at = int(np.argmax(recovered >= wanted))
    rise = recovered[at] - recovered[at - 1]
    return float(share[at - 1] + (share[at] - share[at - 1]) * (wanted - recovered[at - 1]) / rise)


def _enough(moves: int) -> int:
    """Draws that take seconds and no minutes."""
    return max(_LEAST_DRAWS, min(DRAWS, _MOST_DRAWN // max(1, moves)))


def _draws(groups: NDArray[Any], draws: int, seed: int, moves: int) -> Iterator[Array]:
    """Weights of the rows, in blocks [some draws, rows]: whole groups are drawn, with replacement."""
    names, of_row = np.unique(groups, return_inverse=True)
    source = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // max(1, moves))
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), len(names))
        counts = source.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size[0])
        yield counts[:, of_row].astype(np.float64)
