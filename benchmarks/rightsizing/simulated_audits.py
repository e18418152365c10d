"""The watch over a specialist, on made-up audits: how often it demotes one that is good enough, and how soon one that is not.

Many runs go at once, by the very steps of the watch; one of them is held against the watch itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.report import Row, Scale, at_most, told
from orchestrator.rightsizing.guarantees.bounds import Floats
from orchestrator.rightsizing.guarantees.sequential import ODDS, Watch, factors, unopened

DELTA: Final = 0.05
LIFETIME: Final = 100_000
RUNS: Final = 1_000
BEFORE: Final = 2_000
GOOD: Final = 0.98
SEED: Final = 12
NEVER: Final = 10**9


@dataclass(frozen=True, slots=True)
class Fall:
    """A fall of the quality, and how soon it must be noticed: the share of runs, and the most audits that it may take."""

    target: float
    to: float
    limits: tuple[tuple[float, int], ...]
    before: int = BEFORE


FALLS: Final = (
    Fall(0.97, 0.90, ((0.5, 260), (0.9, 430))),
    Fall(0.95, 0.90, ((0.5, 550), (0.9, 950))),
    Fall(0.97, 0.49, ((0.95, 60),)),
    Fall(0.95, 0.49, ((0.95, 60),)),
    Fall(0.97, 0.90, ((0.5, 0), (0.9, 0)), before=50_000),
)
"""The last one has no target: it tells what an older watch still does."""


class Runs:
    """Many watches over the same target, a step at a time; beside them a test of the whole history, which opens all bets at once."""

    def __init__(self, target: float, runs: int) -> None:
        right, wrong = (np.asarray(factors(target, is_right))[:, None] for is_right in (True, False))
        self.by_verdict, self.target = (wrong, right), target
        self.capitals = np.zeros((len(ODDS), runs))
        self.whole = np.full((len(ODDS), runs), 1.0 / len(ODDS))
        self.seen = 0
        self.first: list[bool] = []
        """The verdicts of the first run."""

    def add(self, rights: np.ndarray) -> None:
        gains = np.where(rights, self.by_verdict[1], self.by_verdict[0])
        opened = (unopened(self.seen) - unopened(self.seen + 1)) / len(ODDS)
        self.capitals = np.minimum((self.capitals + opened) * gains, 1e200)
        self.whole = np.minimum(self.whole * gains, 1e200)
        self.seen += 1
        self.first.append(bool(rights[0]))

    @property
    def e_values(self) -> Floats:
        return self.capitals.sum(axis=0) + unopened(self.seen)

    def check(self) -> None:
        """Raises where the first run is not what the watch makes of the same audits."""
        watch = Watch(self.target, DELTA)
        for right in self.first:
            watch.add(right)
        assert math.isclose(watch.e_value, float(self.e_values[0]), rel_tol=1e-9), (watch, self.e_values[0])


def measure(scale: Scale) -> list[Row]:
    rows = [_false_demotions(target, scale.of(RUNS), scale.of(LIFETIME)) for target in (0.95, 0.97, 0.99)]
    return rows + [row for fall in FALLS for row in _noticed(fall, scale.of(RUNS))]


def _false_demotions(target: float, runs: int, audits: int) -> Row:
    draws, made = np.random.default_rng([SEED, round(1e4 * target)]), Runs(target, runs)
    demoted = np.zeros(runs, dtype=bool)
    for _ in range(audits):
        made.add(draws.random(runs) < target)
        demoted |= made.e_values >= 1.0 / DELTA
    made.check()
    limit = 100.0 * (DELTA + 3.0 * math.sqrt(DELTA * (1.0 - DELTA) / runs))
    return at_most(
        f"false demotions, quality exactly {target:g}", 100.0 * float(demoted.mean()), limit, "% of runs",
        note=f"{runs:,} runs of {audits:,} audits, delta 5%",
    )  # fmt: skip


def _noticed(fall: Fall, runs: int) -> list[Row]:
    """Audits after the fall until demotion, and until the test of the whole history would demote."""
    made, early, (ours, whole) = _run(fall, runs)
    made.check()
    rows = []
    for part, limit in fall.limits:
        took, baseline = (float(np.quantile(delays, part, method="higher")) for delays in (ours, whole))
        name = f"audits until demotion, target {fall.target:g}, {100 * GOOD:g}% to {100 * fall.to:g}%"
        name += f", after {fall.before:,} good ones, {100 * part:g}% of runs"
        note = f"{runs:,} runs; demoted before the fall: {early}; baseline: a test of the whole history"
        note += " (not within 8,000 audits)" if baseline >= NEVER else ""
        if limit:
            rows.append(
                at_most(name, took, limit, "audits", baseline=None if baseline >= NEVER else baseline, note=note)
            )
        else:
            rows.append(told(name, took, "audits", note=f"{runs:,} runs; demoted before the fall: {early}"))
    return rows


def _run(fall: Fall, runs: int, most: int = 8_000) -> tuple[Runs, int, tuple[Floats, Floats]]:
    draws, made = np.random.default_rng([SEED, round(1e4 * fall.target), round(1e4 * fall.to)]), Runs(fall.target, runs)
    early = np.zeros(runs, dtype=bool)
    delays = np.full((2, runs), float(NEVER))
    evidence: tuple[Callable[[], Floats], ...] = (lambda: made.e_values, lambda: made.whole.sum(axis=0))
    for _ in range(fall.before):
        made.add(draws.random(runs) < GOOD)
        early |= made.e_values >= 1.0 / DELTA
    for audit in range(1, most + 1):
        made.add(draws.random(runs) < fall.to)
        for delay, of in zip(delays, evidence, strict=True):
            delay[(delay == NEVER) & (of() >= 1.0 / DELTA)] = audit
        if (delays < NEVER).all():
            break
    return made, int(early.sum()), (delays[0], delays[1])
