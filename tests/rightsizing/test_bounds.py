"""Each bound is wrong no more often than it says, and not so wide that it says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.guarantees.bounds import (
    Floats,
    Stratum,
    betting_lower,
    binomial_interval,
    binomial_lower,
    binomial_p,
    binomial_upper,
    holm,
    rows_expected,
    rows_needed,
    stratified_lower,
    weighted_lower,
)

DELTA = 0.05
TRIALS = 400
ALLOWED = DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / TRIALS)
counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
deltas = st.floats(0.001, 0.4)


# Clopper and Pearson


@given(counts, deltas)
def test_the_binomial_bounds_are_those_of_the_beta_distribution(count: tuple[int, int], delta: float) -> None:
    right, n = count
    low = beta.ppf(delta, right, n - right + 1) if right else 0.0
    high = beta.ppf(1 - delta, right + 1, n - right) if right < n else 1.0
    assert binomial_lower(right, n, delta) == pytest.approx(low, rel=1e-9)
    assert binomial_upper(right, n, delta) == pytest.approx(high, rel=1e-9)


def test_known_bounds() -> None:
    assert binomial_lower(149, 149, 0.05) == pytest.approx(0.05 ** (1 / 149))
    assert binomial_interval(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert binomial_interval(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert binomial_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 5, 30, 120])
@pytest.mark.parametrize("quality", [0.02, 0.5, 0.8, 0.95, 0.99, 0.999])
def test_binomial_bounds_cover_every_quality(n: int, quality: float) -> None:
    """Not simulated: summed over every count that there can be."""
    chances = binom.pmf(np.arange(n + 1), n, quality)
    assert sum(chances[k] for k in range(n + 1) if binomial_lower(k, n, DELTA) > quality) <= DELTA + 1e-12
    assert sum(chances[k] for k in range(n + 1) if binomial_upper(k, n, DELTA) < quality) <= DELTA + 1e-12
    inside = [low <= quality <= high for low, high in (binomial_interval(k, n) for k in range(n + 1))]
    assert chances[inside].sum() >= 0.95 - 1e-12


@given(counts, deltas, st.floats(0.01, 0.99))
def test_the_p_value_and_the_bound_say_the_same(count: tuple[int, int], delta: float, target: float) -> None:
    right, n = count
    bound = binomial_lower(right, n, delta)
    if not math.isclose(bound, target, rel_tol=1e-9):
        assert (binomial_p(right, n, target) <= delta) == (bound >= target)


@given(counts, deltas)
def test_more_right_rows_never_lower_a_bound(count: tuple[int, int], delta: float) -> None:
    right, n = count
    if right < n:
        assert binomial_lower(right, n, delta) <= binomial_lower(right + 1, n, delta)
        assert binomial_upper(right, n, delta) <= binomial_upper(right + 1, n, delta)
    assert binomial_lower(right, n + 1, delta) <= binomial_lower(right, n, delta)
    assert binomial_lower(right, n, delta) <= binomial_lower(right, n, delta * 1.2) <= right / n + 1e-9


# How many rows


@pytest.mark.parametrize("target, wrong, rows", [(0.98, 0, 149), (0.95, 0, 59), (0.99, 0, 299)])
def test_the_fewest_rows_that_can_show_a_target(target: float, wrong: int, rows: int) -> None:
    assert rows_needed(target, DELTA, wrong) == rows


@given(st.floats(0.5, 0.99), st.integers(0, 12))
def test_one_row_fewer_would_not_show_it(target: float, wrong: int) -> None:
    n = rows_needed(target, DELTA, wrong)
    assert binomial_lower(n - wrong, n, DELTA) >= target * (1 - 1e-9)
    assert n - 1 == wrong or binomial_lower(n - 1 - wrong, n - 1, DELTA) < target


@pytest.mark.parametrize("quality, target", [(0.99, 0.98), (0.97, 0.95), (0.9, 0.8), (0.999, 0.99)])
def test_as_many_rows_as_are_forecast_do_in_most_cases(quality: float, target: float) -> None:
    n = rows_expected(quality, target, DELTA)
    assert n is not None
    allowed = [k for k in range(n + 1) if binomial_p(k, n, target) <= DELTA]
    assert 0.7 <= binom.sf(min(allowed) - 1, n, quality) <= 0.95


def test_no_number_of_rows_shows_a_target_that_is_not_reached() -> None:
    assert rows_expected(0.9, 0.95, DELTA) is None
    assert rows_expected(0.95, 0.95, DELTA) is None
    assert rows_expected(0.95 + 1e-9, 0.95, DELTA) is None


# Betting

DRAWS: dict[str, tuple[float, float, Callable[[np.random.Generator, int], Floats]]] = {
    "right or wrong": (0.95, 0.04, lambda draw, n: (draw.random(n) < 0.95).astype(float)),
    "partial scores": (0.9, 0.03, lambda draw, n: draw.beta(9.0, 1.0, n)),
    "rarely anything": (0.02, 0.015, lambda draw, n: (draw.random(n) < 0.02).astype(float)),
    "half and half": (0.5, 0.07, lambda draw, n: draw.choice([0.0, 1.0], n)),
    "narrow": (0.7, 0.02, lambda draw, n: 0.7 + draw.uniform(-0.02, 0.02, n)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_bets_are_lost_as_seldom_as_promised_and_win_something(name: str) -> None:
    mean, width, draw_values = DRAWS[name]
    draw = np.random.default_rng(1)
    found = np.asarray([betting_lower(draw_values(draw, 500).tolist(), DELTA) for _ in range(TRIALS)])
    assert (found > mean).mean() <= ALLOWED
    assert mean - width < found.mean() < mean


def test_bets_on_right_and_wrong_come_near_the_exact_bound() -> None:
    draw = np.random.default_rng(2)
    rows = draw.random(1_000) < 0.97
    exact = binomial_lower(int(rows.sum()), 1_000, DELTA)
    assert exact - 0.01 < betting_lower(rows.astype(float).tolist(), DELTA) < rows.mean()


def test_no_rows_and_no_right_rows_show_nothing() -> None:
    assert betting_lower([], DELTA) == 0.0
    assert betting_lower([0.0] * 50, DELTA) == 0.0
    assert weighted_lower([], [], 0.1, DELTA) == 0.0


def test_a_lower_delta_gives_a_lower_bound() -> None:
    values = np.random.default_rng(3).beta(5.0, 1.0, 300).tolist()
    found = [betting_lower(values, delta) for delta in (0.2, 0.05, 0.01, 0.001)]
    assert found == sorted(found, reverse=True)


# Rows drawn with unequal probabilities


def drawn(draw: np.random.Generator, rows: int) -> tuple[list[float], list[float]]:
    """Traffic of which the hard half is drawn three times as often, and is wrong far more often: 90% right in all."""
    hard = draw.random(rows) < 0.5
    chance = np.where(hard, 0.3, 0.1)
    right = draw.random(rows) < np.where(hard, 0.82, 0.98)
    taken = draw.random(rows) < chance
    return right[taken].astype(float).tolist(), chance[taken].tolist()


def test_weights_undo_an_unequal_drawing() -> None:
    draw = np.random.default_rng(4)
    found = np.asarray([weighted_lower(*drawn(draw, 4_000), 0.1, DELTA) for _ in range(TRIALS)])
    assert (found > 0.9).mean() <= ALLOWED
    assert 0.86 < found.mean() < 0.9


def test_without_weights_the_same_drawing_would_deceive() -> None:
    """Where right rows are drawn more often, a plain bound lies above the truth nearly always: so the test above can fail."""
    draw = np.random.default_rng(5)
    plain, weighted = [], []
    for _ in range(100):
        right = draw.random(4_000) < 0.9
        chance = np.where(right, 0.3, 0.1)
        taken = draw.random(4_000) < chance
        values = right[taken].astype(float).tolist()
        plain.append(betting_lower(values, DELTA))
        weighted.append(weighted_lower(values, chance[taken].tolist(), 0.1, DELTA))
    assert np.mean(np.asarray(plain) > 0.9) > 0.9
    assert np.mean(np.asarray(weighted) > 0.9) <= 0.1


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.floats(0.05, 1.0))
def test_equal_probabilities_change_nothing(values: list[float], chance: float) -> None:
    one = weighted_lower(values, [1.0] * len(values), 1.0, DELTA)
    assert betting_lower(values, DELTA) == one
    assert 0.0 <= weighted_lower(values, [chance] * len(values), chance, DELTA) <= 1.0


# Strata, and several tests at once


def test_strata_cover_the_whole_exactly() -> None:
    shares, sizes, qualities = (0.7, 0.3), (40, 25), (0.95, 0.8)
    truth = sum(share * quality for share, quality in zip(shares, qualities, strict=True))
    missed = 0.0
    for first in range(sizes[0] + 1):
        for second in range(sizes[1] + 1):
            strata = [Stratum(shares[0], first, sizes[0]), Stratum(shares[1], second, sizes[1])]
            if stratified_lower(strata, DELTA) > truth:
                missed += binom.pmf(first, sizes[0], qualities[0]) * binom.pmf(second, sizes[1], qualities[1])
    assert missed <= DELTA


def test_one_stratum_is_a_plain_bound_and_an_unseen_one_counts_as_wrong() -> None:
    assert stratified_lower([Stratum(1.0, 95, 100)], DELTA) == binomial_lower(95, 100, DELTA)
    assert stratified_lower([Stratum(0.9, 95, 100), Stratum(0.1, 0, 0)], DELTA) == pytest.approx(
        0.9 * binomial_lower(95, 100, DELTA)
    )


def test_holm_on_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(before <= after <= 1.0 for before, after in zip(values, adjusted, strict=True))
    assert [adjusted[at] for at in np.argsort(values, kind="stable")] == sorted(adjusted)


def test_holm_rejects_a_true_one_as_seldom_as_promised() -> None:
    draw = np.random.default_rng(6)
    trials = 2_000
    false = sum(
        min(holm([*draw.random(4), *(draw.random(3) / 1_000)])[:4]) <= DELTA for _ in range(trials)
    )  # the first four are true
    assert false / trials <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / trials)


# Bad input


@pytest.mark.parametrize(
    "ask, remedy",
    [
        (lambda: binomial_lower(5, 4, DELTA), "Count the right ones"),
        (lambda: binomial_lower(-1, 4, DELTA), "Count the right ones"),
        (lambda: binomial_lower(1, 4, 5.0), "Use 0.05"),
        (lambda: binomial_upper(1, 4, math.nan), "Use 0.05"),
        (lambda: binomial_interval(1, 4, 95.0), "such as 0.95"),
        (lambda: binomial_p(1, 4, 98.0), "Use 0.98"),
        (lambda: betting_lower([0.5, 1.5], DELTA), "Divide by the largest"),
        (lambda: betting_lower([math.nan], DELTA), "Divide by the largest"),
        (lambda: weighted_lower([1.0], [0.1, 0.2], 0.1, DELTA), "same length"),
        (lambda: weighted_lower([1.0], [0.05], 0.1, DELTA), "keep to it"),
        (lambda: weighted_lower([1.0], [0.5], 0.0, DELTA), "keep to it"),
        (lambda: stratified_lower([Stratum(0.5, 1, 2)], DELTA), "Add the part"),
        (lambda: stratified_lower([], DELTA), "one stratum for each"),
        (lambda: holm([5.0]), "no percentages"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_a_remedy(ask: Callable[[], object], remedy: str) -> None:
    with pytest.raises(InvalidRequest, match=remedy):
        ask()
