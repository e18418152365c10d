"""Certificates over made-up traffic whose truth is known: how often one is wrong, how often one is issued, and what the guarantee costs.

Beside ours stand two ways that are in use: the lowest threshold that a normal bound allows, and the lowest that an exact bound allows
without any correction for having looked at many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from benchmarks.report import Row, Scale, at_least, at_most, told
from benchmarks.rightsizing.populations import Population, adversarial, honest, just_under
from orchestrator.rightsizing.guarantees.bounds import Floats, binomial_ps
from orchestrator.rightsizing.guarantees.certify import Demand, Finding, Grid, Scored, counts, decide, grid, starts

TRIALS: Final = 2_000
DELTA: Final = 0.05
SIZES: Final = (50, 200, 1_000, 5_000)
TARGETS: Final = (0.8, 0.9, 0.95, 0.99)
FITTED: Final = 1_500
"""Rows that propose a start, in the arm that has them."""
POWER: Final = 0.9
"""A cell is feasible where the best threshold, had it been known beforehand, would pass in so many trials."""
LOSSES: Final = ((0.95, 1_000, 6.0), (0.98, 2_000, 10.0))
"""Target, rows, and the points of share that may be lost to the guarantee."""
TEXTBOOK: Final = 30
"""Rows from which on textbooks allow the normal bound."""
SEED: Final = 11


@dataclass(frozen=True, slots=True)
class Trial:
    """One draw of certification rows, and what was made of it."""

    found: Finding
    share: float
    """The true share of the threshold taken; 0 where nothing was issued."""
    is_wrong: bool
    normal: float
    """The true share that the normal bound would have taken,"""
    uncorrected: float
    """and the exact one without a correction."""
    alone: Floats
    """For each threshold of the grid, whether a test of it alone would pass truly, by its number from the highest."""


def measure(scale: Scale) -> list[Row]:
    trials = scale.of(TRIALS)
    rows = [row for cell in _cells() for row in _violations(*cell, trials)]
    for target, n, limit in LOSSES:
        rows += _loss(target, n, limit, trials)
    return rows


def _cells() -> Iterator[tuple[Population, float, int]]:
    for n in SIZES:
        for target in TARGETS:
            yield from ((one, target, n) for one in (honest(), adversarial(target), just_under(target)))


def _violations(population: Population, target: float, n: int, trials: int) -> list[Row]:
    made = list(_trials(population, target, n, trials))
    limit = 100.0 * (DELTA + 3.0 * math.sqrt(DELTA * (1.0 - DELTA) / trials))
    cell = f"{population.name}, n {n:,}, target {target:g}"
    issued = 100.0 * sum(one.found.issued for one in made) / trials
    normal, uncorrected = (
        100.0 * sum(_wrong(population, share, target) for share in shares) / trials
        for shares in ([one.normal for one in made], [one.uncorrected for one in made])
    )
    rows = [
        at_most(f"violations: {cell}", 100.0 * sum(one.is_wrong for one in made) / trials, limit, "%", baseline=normal,
                note=f"{trials:,} trials at delta 5%; issued in {issued:.1f}%; baseline: the normal bound; exact bound without correction: "
                     f"{uncorrected:.1f}%")
    ]  # fmt: skip
    power = float(np.mean([one.alone for one in made], axis=0).max())
    if population.best(target) * n >= 3.0 * math.log(DELTA) / math.log(target) and power >= POWER:
        rows.append(
            at_least(
                f"issued: {cell}", issued, 80.0, "%", note=f"the best threshold, known beforehand: {100 * power:.1f}%"
            )
        )
    elif power > 0.0:
        rows.append(
            told(
                f"issued: {cell}",
                issued,
                "%",
                note=f"not feasible: the best threshold, known beforehand, {100 * power:.1f}%",
            )
        )
    return rows


def _loss(target: float, n: int, limit: float, trials: int) -> list[Row]:
    population, rows = honest(), []
    oracle = population.best(target)
    for fitted in (0, FITTED):
        made = list(_trials(population, target, n, trials, fitted))
        lost = 100.0 * (oracle - sum(one.share for one in made) / trials)
        issued, wrong = (
            100.0 * sum(ones) / trials for ones in ([one.found.issued for one in made], [one.is_wrong for one in made])
        )
        how = f"{fitted:,} fitting rows propose a start" if fitted else "no fitting rows"
        rows.append(
            at_most(f"share lost, target {target:g}, n {n:,}, {how}", lost, limit, "points",
                    note=f"of the oracle's {100 * oracle:.1f}%; mean of {trials:,} trials, issued in {issued:.1f}%, violations {wrong:.1f}%")
        )  # fmt: skip
    inside = [
        one.found.share_interval[0] <= one.share <= one.found.share_interval[1]
        for one in made
        if one.found.share_interval
    ]
    rows.append(
        told(f"interval of the share holds, target {target:g}, n {n:,}", 100.0 * sum(inside) / len(inside), "%",
             note="of certificates issued; each interval is a 95% one by itself, though the threshold was chosen on the same rows")
    )  # fmt: skip
    return rows


def _trials(population: Population, target: float, n: int, trials: int, fitted: int = 0) -> Iterator[Trial]:
    """So many draws: each has unlabelled rows of its own for the grid, and fitting rows where asked."""
    draws = np.random.default_rng([SEED, n, round(1e4 * target), fitted])
    demand = Demand(target, DELTA)
    for _ in range(trials):
        thresholds = grid(population.draw(max(n, 500), draws)[0])
        proposing = [
            Scored(float(score), bool(right)) for score, right in zip(*population.draw(fitted, draws), strict=True)
        ]
        levels = starts(thresholds, n, demand, proposing)
        yield _trial(population, thresholds, levels, population.draw(n, draws), demand)


def _trial(
    population: Population, thresholds: Grid, levels: Floats, rows: tuple[Floats, Floats], demand: Demand
) -> Trial:
    accepted, right = counts(*rows, thresholds)
    found = decide(thresholds, accepted, right, len(rows[0]), levels, demand)
    shares = 1.0 - np.asarray(thresholds.thresholds)
    share = 0.0 if found.threshold is None else 1.0 - found.threshold
    p_values = binomial_ps(right, accepted, demand.target)
    rate = right / np.maximum(accepted, 1)
    normal = rate + ndtri(DELTA) * np.sqrt(rate * (1.0 - rate) / np.maximum(accepted, 1)) >= demand.target
    good = population.reaches(shares, demand.target)
    return Trial(
        found, share, _wrong(population, share, demand.target), _lowest(shares, normal & (accepted >= TEXTBOOK)), _lowest(shares, p_values <= DELTA),
        (p_values <= demand.spends) & good,
    )  # fmt: skip


def _lowest(shares: Floats, allowed: Floats) -> float:
    return float(shares[allowed].max()) if allowed.any() else 0.0


def _wrong(population: Population, share: float, target: float) -> bool:
    return share > 0.0 and not population.reaches(np.asarray([share]), target)[0]
