"""Made-up traffic whose quality is known exactly: what a certificate says of it can be held against the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.rightsizing.guarantees.bounds import Floats
from orchestrator.rightsizing.guarantees.certify import Rights


@dataclass(frozen=True, slots=True)
class Population:
    """Traffic with scores spread evenly over 0 to 1: the share that scores t or more is 1 - t."""

    name: str
    wrong_at: Callable[[Floats], Floats]
    """The chance of a wrong answer at a rank, 0 being the highest score."""
    wrong_up_to: Callable[[Floats], Floats]
    """Its integral from the highest score to a share."""

    def draw(self, n: int, draws: np.random.Generator) -> tuple[Floats, Rights]:
        """Scores of so many rows, and whether each is right."""
        ranks = draws.random(n)
        return 1.0 - ranks, draws.random(n) >= self.wrong_at(ranks)

    def quality(self, shares: Floats) -> Floats:
        """The true quality of the answers in the best-scored share."""
        return 1.0 - self.wrong_up_to(shares) / shares

    def reaches(self, shares: Floats, target: float) -> Rights:
        return self.quality(shares) >= target - 1e-12

    def best(self, target: float) -> float:
        """The largest share that truly reaches a target: where the oracle would put the threshold."""
        shares = np.linspace(0.0, 1.0, 20_001)[1:]
        good = self.reaches(shares, target)
        return float(shares[good].max()) if good.any() else 0.0


def honest() -> Population:
    """Like a specialist on banking77: 92.5% right in all, 98% on the best 82%; 0.5% of even its surest answers are labelled otherwise."""
    return Population("honest", lambda at: 0.005 + 0.6132 * at**7.76, lambda to: 0.005 * to + 0.07 * to**8.76)


def adversarial(target: float) -> Population:
    """Its surest answers are bad, a good half follows, and from 0.6 on the quality falls just under the target and rises again, over and over."""
    wrong = 1.0 - target
    parts = [(0.03, 4.0 * wrong), (0.5, 0.1 * wrong)]
    parts.append((0.6, (0.6 * wrong * 1.0001 - 0.03 * 4.0 * wrong - 0.47 * 0.1 * wrong) / 0.1))
    for block in range(4):
        parts += [(0.65 + 0.1 * block, 0.0), (0.7 + 0.1 * block, 2.0 * wrong * 1.0001)]
    return stepwise("adversarial", parts)


def just_under(target: float) -> Population:
    """Whatever the score, the quality lies a thousandth of the allowed wrong answers under the target."""
    return stepwise("just under", [(1.0, (1.0 - target) * 1.001)])


def stepwise(name: str, parts: Sequence[tuple[float, float]]) -> Population:
    """Parts of the traffic from the highest score down: the share at which each ends, and how often it is wrong."""
    ends, wrong = (np.asarray(column) for column in zip(*parts, strict=True))
    sums = np.concatenate(([0.0], np.cumsum(np.diff(ends, prepend=0.0) * wrong)))
    edges = np.concatenate(([0.0], ends))
    return Population(
        name,
        lambda at: wrong[np.minimum(np.searchsorted(ends, at), len(ends) - 1)],
        lambda to: np.interp(to, edges, sums),
    )
