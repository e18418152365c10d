"""Drift is seen where it is, and seldom where it is not."""

from __future__ import annotations

import random
from collections import Counter

from scipy.stats import binom

from orchestrator.rightsizing.stages.drift import binomial_tail, mix_has_moved, share_has_moved

LABELS = [f"label-{n}" for n in range(20)]


def test_the_tail_is_that_of_the_binomial() -> None:
    for at_most, n, p in [
        (0, 10, 0.3),
        (7, 10, 0.3),
        (400, 500, 0.82),
        (10, 500, 0.001),
        (500, 500, 0.5),
        (-1, 5, 0.5),
    ]:
        assert abs(binomial_tail(at_most, n, p) - binom.cdf(at_most, n, p)) < 1e-9


def test_a_share_that_falls_or_rises_is_seen_and_one_that_stays_is_not() -> None:
    assert share_has_moved(300, 500, 0.72, 0.78)
    assert share_has_moved(450, 500, 0.72, 0.78)
    assert not share_has_moved(375, 500, 0.72, 0.78)
    assert not share_has_moved(20, 60, 0.72, 0.78), "sixty jobs say too little"
    draw = random.Random(1)
    alarms = sum(share_has_moved(sum(draw.random() < 0.75 for _ in range(300)), 300, 0.75, 0.75) for _ in range(2_000))
    assert alarms <= 8


def test_a_mix_of_labels_that_moves_is_seen_and_one_that_stays_is_not() -> None:
    draw = random.Random(2)
    known = Counter(draw.choices(LABELS, k=2_000))
    moved = Counter(draw.choices(LABELS, [6.0, *[1.0] * 19], k=500))
    assert mix_has_moved(moved, known)
    assert mix_has_moved(Counter({"never-heard-of": 40} | Counter(draw.choices(LABELS, k=460))), known)
    alarms = sum(
        mix_has_moved(Counter(draw.choices(LABELS, k=500)), Counter(draw.choices(LABELS, k=2_000))) for _ in range(300)
    )
    assert alarms <= 3
