"""Drift is seen where it is, and seldom where it is not."""

from __future__ import annotations

import random
from collections import Counter

from scipy.stats import binom

from orchestrator.rightsizing.stages.drift import (
    ALPHA,
    TESTS,
    alpha,
    binomial_tail,
    mix_has_moved,
    share_has_moved,
    texts_have_moved,
)

EACH = 1e-3
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
    assert share_has_moved(300, 500, 0.72, 0.78, EACH)
    assert share_has_moved(450, 500, 0.72, 0.78, EACH)
    assert not share_has_moved(375, 500, 0.72, 0.78, EACH)
    assert not share_has_moved(20, 60, 0.72, 0.78, EACH), "sixty jobs say too little"
    draw = random.Random(1)
    alarms = sum(
        share_has_moved(sum(draw.random() < 0.75 for _ in range(300)), 300, 0.75, 0.75, EACH) for _ in range(2_000)
    )
    assert alarms <= 8


def test_a_mix_of_labels_that_moves_is_seen_and_one_that_stays_is_not() -> None:
    draw = random.Random(2)
    known = Counter(draw.choices(LABELS, k=2_000))
    moved = Counter(draw.choices(LABELS, [6.0, *[1.0] * 19], k=500))
    assert mix_has_moved(moved, known, EACH)
    assert mix_has_moved(Counter({"never-heard-of": 40} | Counter(draw.choices(LABELS, k=460))), known, EACH)
    alarms = sum(
        mix_has_moved(Counter(draw.choices(LABELS, k=500)), Counter(draw.choices(LABELS, k=2_000)), EACH)
        for _ in range(300)
    )
    assert alarms <= 3


def test_all_looks_together_take_no_more_than_the_chance_of_one_false_alarm() -> None:
    assert TESTS * sum(alpha(look) for look in range(1, 100_000)) <= ALPHA
    assert TESTS * sum(alpha(look) for look in range(1, 100_000)) > 0.99 * ALPHA


def test_texts_that_lie_elsewhere_are_seen_and_those_that_do_not_are_not() -> None:
    draw = random.Random(3)
    known = [(draw.random(), draw.random()) for _ in range(1_000)]
    assert not texts_have_moved([draw.random() for _ in range(500)], known, 0.3, EACH)
    assert texts_have_moved([draw.random() ** 2 for _ in range(500)], known, 0.3, EACH)
    assert not texts_have_moved([draw.random() ** 2 for _ in range(500)], known, 0.95, EACH), "too few of them compare"
    assert not texts_have_moved([draw.random() ** 2 for _ in range(90)], known, 0.3, EACH), "too few came"
    known = [(place, place) for place in (draw.random() for _ in range(2_000))]
    accepted = [0.5 + draw.random() / 2 for _ in range(500)]
    assert not texts_have_moved(accepted, known, 0.5, EACH), "what is accepted is held to what would have been"
    assert texts_have_moved([draw.random() for _ in range(500)], known, 0.5, EACH)
