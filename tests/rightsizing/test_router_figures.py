"""APGR, CPT and curves are what their definitions say, by hand and by counting every threshold."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.learned.router import Rule, choose
from orchestrator.rightsizing.router import figures
from orchestrator.rightsizing.router.figures import Array

TWO = np.array([0.0, 1.0])


def drawn(n: int, models: int, seed: int = 0) -> tuple[Array, Array]:
    source = np.random.default_rng(seed)
    said = source.random((n, models))
    rising = np.linspace(0.3, 0.8, models)
    return said, (source.random((n, models)) < 0.5 * said + 0.5 * rising).astype(np.float64)


def test_a_case_worked_by_hand_has_its_apgr_and_cpts() -> None:
    said = np.array([[0.1, 0.9], [0.2, 0.8], [0.5, 0.6], [0.9, 0.7]])  # wished in this order
    came = np.array([[0, 1], [0, 1], [1, 1], [1, 0]], np.float64)
    found = figures.figures(figures.steps(said, came, TWO), np.arange(4), draws=50)
    # quality of 0 to 4 calls: 2/4, 3/4, 4/4, 4/4, 3/4; the gap is 1/4: PGR 0, 1, 2, 2, 1
    assert found.apgr is not None
    assert found.apgr.value == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)
    assert found.cpt["50%"].value == pytest.approx(0.125)
    assert found.cpt["80%"].value == pytest.approx(0.2)


def test_random_mixing_has_a_half_and_hindsight_has_most() -> None:
    _, came = drawn(20_000, 2)
    source = np.random.default_rng(1)
    mixed = figures.steps(source.random(came.shape), came, TWO)
    assert figures.apgr(mixed)[0] == pytest.approx(0.5, abs=0.03)
    assert figures.apgr(figures.steps(came, came, TWO))[0] > 1
    line = figures.mixing(mixed)
    assert [line[0]["quality"], line[-1]["quality"]] == pytest.approx(came.mean(axis=0).tolist())


@pytest.mark.parametrize("models", [2, 3, 5])
def test_the_curve_is_what_choose_does_at_every_threshold(models: int) -> None:
    said, came = drawn(60, models)
    costs = np.sort(np.random.default_rng(2).random(models))
    moves = figures.steps(said, came, costs)
    cost, quality = (one[0] for one in figures.curves(moves, np.ones((1, 60))))
    for at, threshold in enumerate(moves.thresholds):
        if threshold <= 0:
            break
        lower = moves.thresholds[at + 1] if at + 1 < len(moves.thresholds) else threshold - 1
        chosen = choose(said.astype(np.float32), costs.tolist(), Rule(max(0.0, float(threshold + lower) / 2)))
        assert costs[chosen].mean() == pytest.approx(cost[at + 1])
        assert came[np.arange(60), chosen].mean() == pytest.approx(quality[at + 1])
    assert [cost[0], cost[-1]] == pytest.approx([costs.min(), costs.max()])


def test_equal_predictions_move_together_so_that_the_order_of_a_file_does_not_count() -> None:
    _, came = drawn(200, 2)
    same = np.full(came.shape, 0.5)
    for rows in (np.arange(200), np.arange(200)[::-1]):
        assert figures.apgr(figures.steps(same, came[rows], TWO))[0] == pytest.approx(0.5)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth = np.mean([figures.apgr(figures.steps(*drawn(20_000, 2, 1000 + seed), TWO))[0] for seed in range(5)])
    held = 0
    for seed in range(60):
        said, came = drawn(300, 2, seed)
        found = figures.figures(figures.steps(said, came, TWO), np.arange(300), draws=200, seed=seed)
        held += found.apgr.low <= truth <= found.apgr.high
    assert 50 <= held <= 60


def test_a_bootstrap_draws_whole_groups() -> None:
    said, came = drawn(100, 2)
    twice = figures.steps(np.repeat(said, 4, axis=0), np.repeat(came, 4, axis=0), TWO)
    alone = figures.figures(twice, np.arange(400), draws=300).apgr
    together = figures.figures(twice, np.repeat(np.arange(100), 4), draws=300).apgr
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_paired_comparison_sees_a_difference_that_two_intervals_would_hide() -> None:
    source = np.random.default_rng(0)
    truth = source.random(2000)
    came = np.stack([source.random(2000) < 0.5, source.random(2000) < 0.5 + 0.4 * truth], axis=1).astype(np.float64)
    good = np.stack([np.zeros(2000), truth], axis=1)
    worse = good + np.stack([np.zeros(2000), source.normal(0, 0.12, 2000)], axis=1)
    one, other = (figures.steps(said, came, TWO) for said in (good, worse))
    apart = figures.compare(one, other, np.arange(2000), draws=300)
    alone = figures.figures(one, np.arange(2000), draws=300).apgr
    assert apart.value == pytest.approx(figures.apgr(one)[0] - figures.apgr(other)[0])
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)
    assert figures.compare(one, one, np.arange(2000), draws=50) == figures.Estimate(0.0, 0.0, 0.0)


def test_the_best_single_model_is_a_stair_without_models_that_are_not_worth_their_price() -> None:
    came = np.array([[0, 1, 0, 1], [0, 1, 0, 1], [1, 1, 0, 1]], np.float64)
    stair = figures.best_single(came, np.array([1.0, 2.0, 3.0, 4.0]))
    assert [(one["model"], one["cost_usd"]) for one in stair] == [(0, 1.0), (1, 2.0)]


def test_where_the_dearest_model_is_no_better_there_is_a_curve_and_no_apgr() -> None:
    said, came = drawn(50, 2)
    found = figures.figures(figures.steps(said, 0 * came + [1, 0], TWO), np.arange(50), draws=10)
    assert (found.apgr, found.cpt) == (None, {"50%": None, "80%": None})
    assert [found.curve[0].quality.value, found.curve[-1].quality.value] == [1, 0]
    assert found.as_dict()["apgr"] is None


def test_models_of_one_price_are_refused_with_a_remedy() -> None:
    with pytest.raises(InvalidRequest, match="--cost"):
        figures.steps(*drawn(50, 2), np.array([1.0, 1.0]))


def test_probabilities_that_come_true_are_not_off_and_bold_ones_are() -> None:
    source = np.random.default_rng(0)
    said = source.random((20_000, 1)).astype(np.float32)
    came = (source.random((20_000, 1)) < said).astype(np.float32)
    assert figures.off_by(said, came)[0] < 0.02
    assert figures.off_by(np.round(said), came)[0] > 0.2
