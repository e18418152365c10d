"""Whether what comes in is still what a certificate was issued on. Pure.

Drift says nothing of quality by itself: it raises the share of jobs that are audited, and the audits say.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

ALPHA: Final = 0.01
"""The chance of a false alarm ever in a stage, over all looks and the three tests of each."""
TESTS: Final = 3
"""Whether the specialist's share, the mix of labels, or the texts themselves have moved."""
LEAST: Final = 100
"""Fewer jobs say too little."""
BINS: Final = 5
"""Of familiarities."""
RAISED: Final = 4.0
"""So many times the audits there are once drift is seen; at most all."""


def alpha(look: int) -> float:
    """The chance of a false alarm that each test of a stage's look (counted from 1) may take: over all looks they come to ALPHA."""
    return ALPHA / TESTS * 6.0 / (math.pi * look) ** 2


def binomial_tail(at_most: int, n: int, probability: float) -> float:
    """P(X <= at_most) for X of a binomial; exact, term by term."""
    if at_most >= n or probability <= 0.0:
        return 1.0
    if at_most < 0:
        return 0.0
    if probability >= 1.0:
        return 0.0
    logs = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(probability) + (n - k) * math.log1p(-probability)
        for k in range(at_most + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(math.exp(one) for one in logs))


def share_has_moved(accepted: int, n: int, low: float, high: float, alpha: float) -> bool:
    """Whether the specialist is sure of fewer, or of more, of `n` jobs than its certificate's interval of the share allows.

    Texts outside of what it has learnt have the score 0: more of these, and texts it finds hard, make it sure of fewer.
    """
    if n < LEAST:
        return False
    fewer = binomial_tail(accepted, n, low)
    more = binomial_tail(n - accepted, n, 1.0 - high)
    return min(fewer, more) < alpha / 2


def mix_has_moved(said: Mapping[str, int], known: Mapping[str, int], alpha: float) -> bool:
    """Whether some label, or bin, is there much more, or less, often than at training: each by an exact test, with `alpha` split among them.

    `known` are the counts at training; a label's share there is itself uncertain, so half a row is given to each, and its own
    interval of three standard errors is allowed for.
    """
    n, rows = sum(said.values()), sum(known.values())
    labels = sorted({*said, *known})
    if n < LEAST or rows < LEAST or len(labels) < 2:
        return False
    for label in labels:
        share = (known.get(label, 0) + 0.5) / (rows + 0.5 * len(labels))
        error = 3.0 * math.sqrt(share * (1.0 - share) / rows)
        low, high = max(0.0, share - error), min(1.0, share + error)
        count = said.get(label, 0)
        if min(binomial_tail(count, n, low), binomial_tail(n - count, n, 1.0 - high)) < alpha / (2 * len(labels)):
            return True
    return False


def texts_have_moved(
    said: Sequence[float], known: Sequence[tuple[float, float]], threshold: float, alpha: float
) -> bool:
    """Whether texts lie elsewhere among the learned ones, by how familiar their sentence vectors are: 0 strangest, 1 at home.

    `said` are the familiarities of accepted texts, `known` score and familiarity of texts of training, as they were when the heads had
    not seen them. Only those among them that would have been accepted compare; five bins of equal size are laid on them.
    """
    accepted = sorted(familiar for score, familiar in known if score >= threshold)
    if len(accepted) < LEAST:
        return False
    edges = [accepted[len(accepted) * part // BINS] for part in range(1, BINS)]
    return mix_has_moved(_binned(said, edges), _binned(accepted, edges), alpha)


def _binned(values: Sequence[float], edges: Sequence[float]) -> Counter[str]:
    return Counter(str(bisect_right(edges, value)) for value in values)
