"""Quality by each source has an interval that holds, weighted by the probability with which rows were drawn."""

from __future__ import annotations

import random

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.evidence.facts import Quality
from orchestrator.rightsizing.evidence.quality import (
    Group,
    difference,
    of_reference,
    quality_of,
    together,
)
from orchestrator.rightsizing.guarantees.bounds import binomial_interval
from tests.rightsizing.made_facts import quality

TRIALS = 400


def missed_most(trials: int, level: float = 0.95) -> float:
    """So many of the intervals may miss, three standard errors allowed."""
    return trials * (1 - level) + 3 * (trials * level * (1 - level)) ** 0.5


def test_one_group_has_the_exact_binomial_interval() -> None:
    found = quality_of("labels", [Group(0.1, 1_000, 100, 93)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx(binomial_interval(93, 100))
    assert (found.value, found.n, found.source, found.note) == (0.93, 100, "labels", "")


def test_groups_count_by_the_rows_that_they_stand_for_and_not_by_their_verdicts() -> None:
    """Nine rows of ten were drawn rarely and are right: looking more often at the others must not make the task look bad."""
    found = quality_of("agreement", [Group(0.01, 90_000, 900, 900), Group(0.5, 10_000, 5_000, 2_500)])
    assert found is not None
    assert found.value == pytest.approx(0.95)
    assert found.low < 0.95 < found.high


def test_the_interval_of_several_groups_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(7)
    groups = ((0.05, 4_000, 0.97), (0.4, 600, 0.6))
    truth = sum(rows * right for _, rows, right in groups) / sum(rows for _, rows, _ in groups)
    missed = 0
    for _ in range(TRIALS):
        made = []
        for probability, rows, right in groups:
            n = sum(draw.random() < probability for _ in range(rows))
            made.append(Group(probability, rows, n, sum(draw.random() < right for _ in range(n))))
        found = quality_of("labels", made)
        missed += found is None or not found.low <= truth <= found.high
    assert missed <= missed_most(TRIALS)


def test_rows_that_nobody_looked_at_may_be_anything_and_are_told() -> None:
    found = quality_of("labels", [Group(0.5, 100, 50, 50), Group(0.001, 100, 0, 0)])
    assert found is not None
    assert found.low < 0.5
    assert found.high == 1.0
    assert "100 of 200 rows were never looked at" in found.note


def test_without_a_verdict_there_is_no_quality() -> None:
    assert quality_of("labels", []) is None
    assert quality_of("labels", [Group(0.1, 40, 0, 0)]) is None


@pytest.mark.parametrize(
    "group", [(0.0, 10, 5, 5), (1.5, 10, 5, 5), (0.5, 10, 11, 5), (0.5, 10, 5, 6), (0.5, 10, 5, -1)]
)
def test_counts_that_cannot_be_are_refused_with_a_remedy(group: tuple[float, int, int, int]) -> None:
    with pytest.raises(InvalidRequest, match="recorded at the draw"):
        Group(*group)


def test_models_are_put_together_by_their_shares_and_only_within_one_source() -> None:
    ours, theirs = quality("agreement", 970, 1_000), of_reference(500)
    found = together([(3.0, ours), (1.0, theirs)])
    assert found is not None
    assert found.value == pytest.approx(0.75 * 0.97 + 0.25)
    assert found.low == pytest.approx(0.75 * ours.low + 0.25)
    assert found.n == 1_000
    assert together([(3.0, ours), (1.0, quality("labels", 9, 10))]) is None
    assert together([]) is None


def test_a_difference_is_told_at_its_worst_and_best_and_never_across_sources() -> None:
    ours, theirs = Quality("labels", 0.95, 0.9, 0.97, 100), Quality("labels", 0.96, 0.94, 0.98, 400)
    found = difference(ours, theirs)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(-0.08), pytest.approx(0.03))
    assert difference(ours, of_reference(3)) is None


@pytest.mark.parametrize("ends", [(0.9, 0.95, 0.99), (0.3, 0.4, 0.6), (0.5, -0.1, 0.6), (0.5, 0.4, 1.1)])
def test_a_quality_outside_its_interval_is_refused(ends: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidRequest, match="shares from 0 to 1"):
        Quality("labels", *ends, 10)
