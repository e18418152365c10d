"""Thresholds keep what their statement says, for every number of rows and however often is asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.learned.router import Rule, choose
from orchestrator.rightsizing.router.calibrate import Rows, choices, for_budget, for_quality, thresholds

COSTS = np.array([0.001, 0.05])


def drawn(n: int, seed: int, *, bold: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """What is said, and the true probabilities of two models."""
    source = np.random.default_rng(seed)
    easy = source.random(n)
    truth = np.stack([0.3 + 0.65 * easy, np.full(n, 0.9)], axis=1)
    said = np.clip(truth + source.normal(0, 0.1, truth.shape), 0, 1)
    return (np.sqrt(said) if bold else said).astype(np.float32), truth


def rows_of(said: np.ndarray, truth: np.ndarray, seed: int, *, partial: bool = False) -> Rows:
    came = (np.random.default_rng(seed).random(truth.shape) < truth).astype(np.float32)
    return Rows(said, 0.25 + 0.5 * came if partial else came)


def test_thresholds_run_from_any_price_to_none_in_even_steps_of_cost() -> None:
    said, _ = drawn(5_000, 0)
    laid = thresholds(said, COSTS, 11)
    assert laid[0] == 0
    assert math.isinf(laid[-1])
    assert list(laid) == sorted(set(laid))
    costs = [COSTS[choose(said, COSTS.tolist(), Rule(one))].mean() for one in laid]
    assert np.abs(np.diff(costs) - np.diff(costs).mean()).max() < 0.002


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("n", [60, 800])
def test_no_bound_is_broken_more_often_than_delta_says(n: int, *, bold: bool) -> None:
    laid = thresholds(drawn(4_000, 1, bold=bold)[0], COSTS)
    said_all, truth_all = drawn(200_000, 2, bold=bold)
    qualities, costs = [], []
    for threshold in laid:
        chosen = choose(said_all, COSTS.tolist(), Rule(threshold))
        qualities.append(truth_all[np.arange(len(chosen)), chosen].mean())
        costs.append(COSTS[chosen].mean())
    trials, delta, broken = 150, 0.2, [0, 0]
    for seed in range(trials):
        said, truth = drawn(n, 100 + seed, bold=bold)
        found = choices(laid, rows_of(said, truth, seed), COSTS, delta)
        broken[0] += any(one.quality_bound > quality for one, quality in zip(found, qualities, strict=True))
        broken[1] += any(one.cost_bound_usd < cost - 1e-12 for one, cost in zip(found, costs, strict=True))
    assert max(broken) <= trials * delta + 3 * math.sqrt(trials * delta * (1 - delta))


def test_the_cheapest_threshold_that_shows_the_quality_is_taken() -> None:
    found = choices(thresholds(drawn(4_000, 3)[0], COSTS), rows_of(*drawn(4_000, 4), 5), COSTS, 0.05)
    made = for_quality(found, 0.8, 4_000, 0.05)
    assert made.issued
    assert made.choice.quality_bound >= 0.8
    assert made.choice.cost_usd == min(one.cost_usd for one in found if one.quality_bound >= 0.8)
    assert made.choice.cost_usd < 0.7 * COSTS[1]


def test_a_quality_that_is_not_shown_is_refused_with_the_rows_that_would_do() -> None:
    said, truth = drawn(300, 3)
    found = choices(thresholds(said, COSTS), rows_of(said, truth, 5), COSTS, 0.05)
    near = for_quality(found, 0.88, 300, 0.05)
    assert not near.issued
    assert near.more_rows is not None
    assert near.more_rows > 300
    far = for_quality(found, 0.99, 300, 0.05)
    assert (far.issued, far.more_rows) == (False, None)
    assert "No number of rows" in far.reason


def test_a_budget_is_kept_and_what_it_buys_is_the_best_of_it() -> None:
    said, truth = drawn(3_000, 3)
    found = choices(thresholds(said, COSTS), rows_of(said, truth, 5), COSTS, 0.05)
    made = for_budget(found, 0.02, COSTS)
    assert made.choice.cost_bound_usd <= 0.02
    assert made.choice.quality == max(one.quality for one in found if one.cost_bound_usd <= 0.02)
    assert for_budget(found, 0.001, COSTS).choice.shares == (1.0, 0.0)  # exactly what the cheapest takes
    assert for_budget(found, 1.0, COSTS).choice.quality == max(one.quality for one in found)


def test_three_prices_and_partial_outcomes_have_their_bounds_too() -> None:
    source = np.random.default_rng(0)
    said = source.random((2_000, 3)).astype(np.float32)
    costs = np.array([0.0, 0.01, 0.04])
    found = choices(thresholds(said, costs), Rows(said, (0.5 * said + 0.25).astype(np.float32)), costs, 0.05)
    for one in found:
        assert one.quality_bound < one.quality < one.quality_bound + 0.1
        assert one.cost_usd <= one.cost_bound_usd <= 0.04
    assert found[-1].cost_bound_usd == 0


@pytest.mark.parametrize("threshold", [-1.0, math.nan])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidRequest, match="calibrate"):
        Rule(threshold)


def test_asking_for_what_cannot_be_is_refused_with_a_remedy() -> None:
    said, truth = drawn(100, 3)
    found = choices(thresholds(said, COSTS), rows_of(said, truth, 5), COSTS, 0.05)
    for target in (0.0, 1.0, 1.2):
        with pytest.raises(InvalidRequest, match="such as"):
            for_quality(found, target, 100, 0.05)
    for budget in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InvalidRequest, match="more than 0"):
            for_budget(found, budget, COSTS)
    with pytest.raises(InvalidRequest, match="Raise it"):
        for_budget(found, 0.0005, COSTS)
    with pytest.raises(InvalidRequest, match="--outcomes"):
        choices((0.0,), Rows(said[:0], truth[:0].astype(np.float32)), COSTS, 0.05)


def test_choose_takes_the_most_good_answers_for_the_money() -> None:
    said = np.array([[0.5, 0.9], [0.8, 0.82], [0.9, 0.1]], np.float32)
    assert choose(said, [0.0, 0.1], Rule(0.0)).tolist() == [1, 1, 0]
    assert choose(said, [0.0, 0.1], Rule(1.0)).tolist() == [1, 0, 0]
    assert choose(said, [0.0, 0.1], Rule(math.inf)).tolist() == [0, 0, 0]
    assert choose(said, [0.1, 0.0], Rule(math.inf)).tolist() == [1, 1, 1]
    assert choose(np.full((1, 3), 0.5, np.float32), [0.2, 0.1, 0.1], Rule(0.0)).tolist() == [1]
    for costs in ([0.1], [0.1, -1.0], [0.1, math.nan]):
        with pytest.raises(InvalidRequest, match="--cost"):
            choose(said, costs, Rule(0.0))
