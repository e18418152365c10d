"""A certificate is wrong as seldom as it says whatever the scores are worth, and is issued where there is something to certify."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rightsizing.populations import Population, adversarial, honest, just_under, stepwise
from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.evidence.answers import fields_right
from orchestrator.rightsizing.guarantees.bounds import binomial_interval, binomial_lower, binomial_ps
from orchestrator.rightsizing.guarantees.by_field import by_field, sentence
from orchestrator.rightsizing.guarantees.certify import (
    Demand,
    Finding,
    Grid,
    Scored,
    certify,
    counts,
    decide,
    grid,
    starts,
)

TRIALS = 400
DELTA = 0.05
ALLOWED = DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / TRIALS)
TEN = Grid(tuple(np.linspace(0.9, 0.0, 10).tolist()), tuple(np.linspace(0.1, 1.0, 10).tolist()))


def scored(population: Population, n: int, draw: np.random.Generator) -> list[Scored]:
    return [Scored(float(score), bool(right)) for score, right in zip(*population.draw(n, draw), strict=True)]


def issued(
    population: Population,
    demand: Demand,
    n: int,
    *,
    trials: int = TRIALS,
    fitted: Sequence[Scored] = (),
    seed: int = 1,
) -> tuple[list[Finding], float]:
    """Findings of many draws, and how often a threshold was issued that does not hold in truth."""
    draw = np.random.default_rng(seed)
    found, wrong = [], 0
    for _ in range(trials):
        thresholds = grid(population.draw(500, draw)[0])
        levels = starts(thresholds, n, demand, fitted)
        made = decide(thresholds, *counts(*population.draw(n, draw), thresholds), n, levels, demand)
        found.append(made)
        if made.threshold is not None:
            wrong += not population.reaches(np.asarray([1.0 - made.threshold]), demand.target)[0]
    return found, wrong / trials


# The guarantee


@pytest.mark.parametrize("n", [200, 1_000])
@pytest.mark.parametrize("target", [0.8, 0.95])
def test_a_certificate_is_wrong_as_seldom_as_promised(n: int, target: float) -> None:
    for population in (honest(), adversarial(target), just_under(target)):
        _, wrong = issued(population, Demand(target, DELTA), n)
        assert wrong <= ALLOWED, population.name


def test_picking_the_best_looking_threshold_would_break_it() -> None:
    """The same trials, with the exact bound at each threshold but none of the correction: so the test above can fail."""
    draw, population = np.random.default_rng(1), just_under(0.95)
    wrong = 0
    for _ in range(TRIALS):
        thresholds = grid(population.draw(500, draw)[0])
        accepted, right = counts(*population.draw(1_000, draw), thresholds)
        wrong += bool((binomial_ps(right, accepted, 0.95) <= DELTA).any())
    assert wrong / TRIALS > 2 * ALLOWED


def test_fitting_rows_that_lie_do_not_break_it() -> None:
    """They say that all is right: the start they propose is as bad as can be."""
    lies = [Scored(at / 500, right=True) for at in range(500)]
    for population in (adversarial(0.95), just_under(0.95)):
        _, wrong = issued(population, Demand(0.95, DELTA), 500, fitted=lies)
        assert wrong <= ALLOWED


def test_all_attempts_together_spend_no_more_than_delta() -> None:
    spent = [Demand(0.98, DELTA, attempt).spends for attempt in range(1, 1_001)]
    assert spent[0] == pytest.approx(DELTA * 6 / math.pi**2)
    assert spent == sorted(spent, reverse=True)
    assert 0.998 * DELTA < sum(spent) <= DELTA


@given(
    st.integers(1, 20_000),
    st.floats(0.5, 0.999),
    st.integers(1, 9),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60),
    st.booleans(),
)
def test_the_starts_share_the_attempts_delta_and_no_more(
    n: int, target: float, count: int, scores: list[float], with_fitting: bool
) -> None:
    fitted = [Scored(score, score > 0.3) for score in scores] if with_fitting else []
    demand = Demand(target, DELTA, starts=count)
    levels = starts(grid(scores), n, demand, fitted)
    assert sum(levels) == pytest.approx(demand.spends)
    assert min(levels) >= 0.0
    assert np.count_nonzero(levels) <= count + 1


def test_a_start_has_three_times_the_rows_that_would_do_if_all_were_right() -> None:
    thresholds, demand = grid(np.linspace(0.0, 1.0, 1_000)), Demand(0.95, DELTA)
    first = thresholds.shares[int(np.flatnonzero(starts(thresholds, 1_000, demand))[0])]
    assert 1_000 * first >= 3 * math.log(demand.spends) / math.log(demand.target)


# The walk


def walk(errors: Sequence[int], levels: Sequence[float], target: float = 0.9, n: int = 1_000) -> Finding:
    """Of a grid of ten thresholds that accept 100 more rows each, with so many wrong ones in all up to each."""
    accepted = np.arange(1, 11) * n // 10
    return decide(TEN, accepted, accepted - np.asarray(errors), n, np.asarray(levels), Demand(target, DELTA))


def test_the_lowest_threshold_of_an_unbroken_run_is_taken() -> None:
    found = walk([1, 2, 3, 4, 5, 6, 7, 200, 210, 220], [0.03] + [0.0] * 9)
    assert (found.issued, found.share, found.accepted, found.errors) == (True, 0.7, 700, 7)
    assert found.threshold == pytest.approx(0.3)
    assert found.share_interval == binomial_interval(700, 1_000)
    assert found.bound == binomial_lower(693, 700, 0.03) > 0.9
    assert found.more_labels is None


def test_behind_a_threshold_that_fails_nothing_is_taken_without_a_start() -> None:
    errors = [1, 2, 90, 4, 5, 6, 7, 8, 9, 10]  # the third is bad, all behind it look perfect
    assert walk(errors, [0.03] + [0.0] * 9).share == 0.2
    assert walk(errors, [0.015, 0, 0, 0, 0, 0.015, 0, 0, 0, 0]).share == 1.0


def test_a_bad_head_of_the_scores_does_not_stop_a_later_start() -> None:
    found = walk([20, 21, 22, 23, 24, 25, 26, 27, 28, 29], [0.01, 0, 0, 0.02, 0, 0, 0, 0, 0, 0])
    assert (found.issued, found.share) == (True, 1.0)


def test_a_start_that_is_reached_has_what_was_handed_on_as_well() -> None:
    errors = [1, 2, 3, 4, 41]  # the fifth: 459 of 500 right
    errors += [200] * 5
    p_value = float(binomial_ps(np.asarray([459]), np.asarray([500]), 0.9)[0])
    half = p_value * 0.6
    assert walk(errors, [half, 0, 0, 0, half, 0, 0, 0, 0, 0]).share == 0.5
    assert walk(errors, [half, 0, 0, 0, 0, 0, 0, 0, 0, 0]).share == 0.4
    assert not walk([90, 91, 92, 93, 41, *[200] * 5], [half, 0, 0, 0, half, 0, 0, 0, 0, 0]).issued


# What is issued


def test_most_of_what_the_oracle_would_take_is_certified() -> None:
    for target, n, points in ((0.95, 1_000, 6.0), (0.98, 2_000, 10.0)):
        found, wrong = issued(honest(), Demand(target, DELTA), n)
        assert 100 * (honest().best(target) - np.mean([one.share for one in found])) <= points
        assert wrong <= ALLOWED


def test_fitting_rows_help_where_the_head_is_bad_for_long() -> None:
    head = stepwise("bad head", [(0.25, 0.1), (0.75, 0.0), (1.0, 0.5)])  # reaches 95% between 0.5 and 0.78
    draw = np.random.default_rng(2)
    without, _ = issued(head, Demand(0.95, DELTA), 1_500, trials=100)
    helped, _ = issued(head, Demand(0.95, DELTA), 1_500, trials=100, fitted=scored(head, 2_000, draw))
    assert np.mean([one.issued for one in helped]) > np.mean([one.issued for one in without]) + 0.1


def test_the_interval_of_the_share_holds_the_true_share() -> None:
    found, _ = issued(honest(), Demand(0.95, DELTA), 1_000, trials=200)
    inside = [
        one.share_interval[0] <= 1.0 - one.threshold <= one.share_interval[1]
        for one in found
        if one.share_interval is not None and one.threshold is not None
    ]
    assert len(inside) > 190
    assert np.mean(inside) > 0.9


def test_the_same_rows_in_any_order_give_the_same_finding() -> None:
    rows = scored(honest(), 800, np.random.default_rng(3))
    thresholds = grid(np.linspace(0.0, 1.0, 400))
    assert certify(rows, thresholds, Demand(0.95)) == certify(rows[::-1], thresholds, Demand(0.95))


def test_a_finding_is_json() -> None:
    rows = scored(honest(), 1_000, np.random.default_rng(4))
    found = certify(rows, grid(np.linspace(0.0, 1.0, 400)), Demand(0.95)).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert {"issued", "threshold", "share", "share_interval", "target", "delta", "n", "bound"} <= set(found)
    assert "accepted answers are wrong" in found["reason"]


def test_a_threshold_counts_the_rows_that_it_will_accept() -> None:
    rows = [Scored(0.5, right=True)] * 400 + [Scored(0.2, right=False)] * 100
    found = certify(rows, grid([0.5] * 8 + [0.2] * 2), Demand(0.95))
    assert (found.threshold, found.accepted, found.errors, found.share) == (0.5, 400, 0, 0.8)


# What is not issued


def test_too_few_rows_say_how_many_more_would_do_and_mostly_they_do() -> None:
    found, _ = issued(honest(), Demand(0.98, DELTA), 300, trials=40, seed=5)
    refused = [one for one in found if not one.issued]
    assert len(refused) > 20
    did = 0
    for seed, one in enumerate(refused):
        assert (one.threshold, one.share, one.share_interval) == (None, 0.0, None)
        assert one.more_labels is not None
        assert f"{one.more_labels:,} fresh" in one.reason
        again, _ = issued(honest(), Demand(0.98, DELTA, attempt=2), min(10_000, one.more_labels), trials=1, seed=seed)
        did += again[0].issued
    assert did / len(refused) > 0.6


def test_more_rows_are_never_asked_for_than_an_attempt_had_at_the_least() -> None:
    found, _ = issued(honest(), Demand(0.98, DELTA), 500, trials=60)
    assert all(one.issued or one.more_labels is None or one.more_labels >= 500 for one in found)


def test_a_quality_below_the_target_says_that_no_labels_would_do() -> None:
    bad = stepwise("bad", [(1.0, 0.3)])
    found = certify(scored(bad, 2_000, np.random.default_rng(6)), grid(np.linspace(0.0, 1.0, 50)), Demand(0.95))
    assert (found.issued, found.more_labels) == (False, None)
    assert "No number of labels would do" in found.reason
    assert "lower the target" in found.reason


def test_a_handful_of_rows_tells_that_it_is_too_few() -> None:
    found = certify([Scored(0.9, right=True)] * 3, grid([0.9, 0.5]), Demand(0.98))
    assert not found.issued
    assert "too few to tell" in found.reason
    assert found.more_labels is not None
    assert found.more_labels > 400


def test_rows_that_reach_no_threshold_certify_nothing() -> None:
    found = certify([Scored(0.1, right=True)] * 500, grid([0.8, 0.9, 1.0]), Demand(0.95))
    assert (found.issued, found.accepted, found.bound) == (False, 0, 0.0)
    assert "no row reaches a score" in found.reason


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=80),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=80),
    st.floats(0.05, 0.95),
)
def test_every_finding_keeps_its_word(rows: list[tuple[float, bool]], scores: list[float], target: float) -> None:
    found = certify([Scored(*row) for row in rows], grid(scores), Demand(target, 0.2))
    assert 0 <= found.errors <= found.accepted <= found.n == len(rows)
    assert found.issued == (found.threshold is not None)
    if found.threshold is not None:
        accepted = [right for score, right in rows if score >= found.threshold]
        assert (found.accepted, found.errors) == (len(accepted), accepted.count(False))
        assert found.bound >= target - 1e-9
        assert found.share == len(accepted) / len(rows)


# The grid


def test_thresholds_are_quantiles_of_the_scores_and_their_shares_are_true() -> None:
    scores = np.random.default_rng(7).beta(8.0, 1.0, 1_000)
    made = grid(scores.tolist(), 100)
    assert len(made.thresholds) == 100
    assert made.shares == pytest.approx(np.arange(1, 101) / 100)
    assert all(np.mean(scores >= at) == share for at, share in zip(made.thresholds, made.shares, strict=True))


def test_equal_scores_make_one_threshold() -> None:
    assert grid([0.7] * 100) == Grid((0.7,), (1.0,))


def test_a_score_of_0_is_never_accepted() -> None:
    """It is that of an answer out of the model's scope."""
    assert grid([1.0, 1.0, 1.0, 0.0]) == Grid((1.0,), (0.75,))
    assert grid([0.4, *[0.0] * 999]) == Grid((0.4,), (0.001,))


# Bad input

GOOD = [Scored(0.5, right=True)]


@pytest.mark.parametrize(
    "change, remedy",
    [
        ({"rows": []}, "rightsize label"),
        ({"rows": [Scored(math.nan, right=True)]}, "Score every row"),
        ({"rows": [Scored(1.5, right=True)]}, "Score every row"),
        ({"demand": Demand(98.0)}, "Use 0.98"),
        ({"demand": Demand(0.98, 5.0)}, "Use 0.05"),
        ({"demand": Demand(0.98, attempt=0)}, "Attempts count from 1"),
        ({"demand": Demand(0.98, starts=0)}, "4 starts do well"),
        ({"thresholds": Grid((), ())}, "Make them with grid"),
        ({"thresholds": Grid((0.2, 0.5), (0.5, 1.0))}, "Make them with grid"),
        ({"fitted": [Scored(-1.0, right=True)]}, "Score every row"),
    ],
)
def test_what_cannot_be_certified_with_is_refused_with_a_remedy(change: dict[str, Any], remedy: str) -> None:
    with pytest.raises(InvalidRequest, match=remedy):
        certify(**{"rows": GOOD, "thresholds": TEN, "demand": Demand(0.98), **change})


@pytest.mark.parametrize(
    "scores, steps", [([], 100), ([0.0, 0.0], 100), ([0.5], 0), ([0.5], 10**9), ([math.inf], 100), ([-0.1], 100)]
)
def test_a_grid_of_nothing_is_refused(scores: list[float], steps: int) -> None:
    with pytest.raises(InvalidRequest):
        grid(scores, steps)


def test_the_attempt_counts_against_the_finding() -> None:
    rows = [Scored(0.9, right=True)] * 195 + [Scored(0.9, right=False)] * 4
    first = certify(rows, grid([0.9]), Demand(0.95, DELTA))
    tenth = certify(rows, grid([0.9]), replace(Demand(0.95, DELTA), attempt=10))
    assert (first.issued, tenth.issued) == (True, False)
    assert tenth.delta_spent == pytest.approx(first.delta_spent / 100)


def test_of_several_fields_it_is_told_which_would_pass_by_themselves() -> None:
    rows = [{"team": at % 10 != 0, "urgent": at % 400 != 0} for at in range(800)]
    team, urgent = sorted(by_field(rows, 0.95, 0.05), key=lambda one: one.field)
    assert (team.right, team.n, team.passes) == (720, 800, False)
    assert (urgent.right, urgent.passes) == (798, True)
    assert sentence([urgent, team]).startswith(
        " By themselves, of its fields: urgent would (798 of 800 right), team would not"
    )
    assert (by_field([], 0.9, 0.05), by_field([{}, {"team": True}], 0.9, 0.05), sentence([])) == ([], [], "")


def test_fields_share_delta_so_that_a_false_one_seldom_passes() -> None:
    draw = random.Random(5)
    wrong = 0
    for _ in range(400):
        rows = [{name: draw.random() < 0.949 for name in ("a", "b", "c", "d")} for _ in range(150)]
        wrong += any(one.passes for one in by_field(rows, 0.95, 0.1))
    assert wrong / 400 <= 0.1 + 3 * (0.1 * 0.9 / 400) ** 0.5


def test_fields_are_held_to_the_label_one_by_one() -> None:
    said = '{"team": "billing", "urgent": true}'
    assert fields_right(said, '{"urgent": false, "team": "Billing"}') == {"team": True, "urgent": False}
    assert fields_right(said, "billing") == fields_right(said, None) == {"team": False, "urgent": False}
    assert fields_right("card", "card") == {}
