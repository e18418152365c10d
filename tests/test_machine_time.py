"""A machine's time: whatever it did, what is shared out and what is idle are its bill, to the last digit."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine_time import (
    MICRO,
    Served,
    Span,
    Use,
    Weights,
    bill_micro,
    close,
    is_due,
    shares,
    usd_of_micro,
    usd_of_units,
    weight,
)

ZERO = Decimal(0)
PLAIN = Weights(Decimal("0.1"), Decimal("0.01"), Decimal(1))
rates = st.decimals("0.000000000001", "1000000", places=12)
seconds = st.integers(0, 10**12).map(lambda us: Decimal(us).scaleb(-6))
weights = st.builds(Weights, *[st.decimals(0, 1000, places=6)] * 3)
tokens = st.integers(0, 10**8)


@st.composite
def served(draw: st.DrawFn) -> Served:
    read = draw(tokens)
    return Served(read, draw(st.integers(0, read)), draw(tokens))


@given(rates, st.lists(seconds, min_size=1, max_size=30), seconds)
def test_bills_of_spans_that_follow_each_other_add_up_to_the_bill_of_the_whole(
    rate: Decimal, spans: list[Decimal], before: Decimal
) -> None:
    with localcontext(prec=100):  # the database carries the sum as `numeric`, which has no bound
        start = carried = rate * before
        total = 0
        for one in spans:
            total += bill_micro(rate, carried, one)
            carried += rate * one
        assert total == bill_micro(rate, start, sum(spans, ZERO))
        assert abs(total - Fraction(carried - start) * MICRO / 3600) <= 1


def test_an_hour_is_its_price_however_it_is_cut() -> None:
    rate, cuts = Decimal("3.141593"), [Decimal(3600) / 7] * 7
    cuts = [one.quantize(Decimal("0.000001")) for one in cuts]
    cuts[-1] += Decimal(3600) - sum(cuts, ZERO)
    carried, total = ZERO, 0
    for one in cuts:
        total += bill_micro(rate, carried, one)
        carried += rate * one
    assert usd_of_micro(total) == rate


@given(rates, seconds, seconds, st.lists(served(), max_size=40), weights)
def test_jobs_plus_idle_are_the_bill_and_nobody_gets_less_than_nothing(
    rate: Decimal, whole: Decimal, busy: Decimal, jobs: list[Served], by: Weights
) -> None:
    books = close(Span(rate, ZERO, whole, busy), jobs, by)
    assert sum(books.shares_units) == books.used_micro * MICRO
    assert books.used_micro + books.idle_micro == books.bill_micro == bill_micro(rate, ZERO, whole)
    assert 0 <= books.used_micro <= books.bill_micro
    assert all(share >= 0 for share in books.shares_units)
    shared = sum(map(usd_of_units, books.shares_units), ZERO) + usd_of_micro(books.idle_micro)
    assert shared == usd_of_micro(books.bill_micro)


@given(st.integers(0, 10**18), st.lists(st.integers(0, 10**15), min_size=1, max_size=60).filter(any))
def test_shares_are_within_one_unit_of_their_quota_and_lose_nothing(units: int, weighed: list[int]) -> None:
    given_out, total = shares(units, weighed), sum(weighed)
    assert sum(given_out) == units
    for share, one in zip(given_out, weighed, strict=True):
        assert units * one // total <= share <= -(-units * one // total)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=2, max_size=30).filter(any))
def test_who_weighs_more_never_bears_less(units: int, weighed: list[int]) -> None:
    paired = sorted(zip(weighed, shares(units, weighed), strict=True))
    assert all(lighter[1] <= heavier[1] for lighter, heavier in pairwise(paired) if lighter[0] < heavier[0])


def test_prefill_decode_and_cached_tokens_weigh_apart() -> None:
    books = close(
        Span(Decimal(3600), ZERO, Decimal(1), Decimal("0.5")),
        [Served(1000, 0, 0), Served(0, 0, 100), Served(1000, 1000, 0)],
        PLAIN,
    )
    assert [usd_of_units(one) for one in books.shares_units] == [
        Decimal("0.238095238095"), Decimal("0.238095238095"), Decimal("0.023809523810"),
    ]  # fmt: skip
    assert (books.used_micro, books.idle_micro) == (500_000, 500_000)


def test_an_interval_without_tokens_is_idle_as_a_whole() -> None:
    books = close(Span(Decimal(2), ZERO, Decimal(60), Decimal(60)), [Served(0, 0, 0)], PLAIN)
    assert (books.used_micro, books.idle_micro, list(books.shares_units)) == (0, 33_333, [0])


def test_a_clock_that_was_busy_for_longer_than_the_interval_gives_no_more_than_the_bill() -> None:
    books = close(Span(Decimal(36), ZERO, Decimal(1), Decimal("1.01")), [Served(1, 0, 1)], PLAIN)
    assert (books.used_micro, books.idle_micro) == (10_000, 0)


def test_nobody_to_share_with_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nobody to share with"):
        shares(1, [0, 0])


def test_weights_count_by_how_they_stand_to_each_other() -> None:
    one, ten = Served(50, 20, 7), Weights(*(10 * part for part in (PLAIN.prefill, PLAIN.cached, PLAIN.decode)))
    assert weight(one, ten) == 10 * weight(one, PLAIN)


@pytest.mark.parametrize(
    "age_s,busy_s,attempts,due",
    [(59, 0, 0, False), (60, 0, 0, True), (60, 1, 0, False), (600, 1, 0, False), (60, 1, 1, True), (1, 1, 100, True)],
)
def test_an_interval_ends_when_somebody_can_bear_it(age_s: float, busy_s: float, attempts: int, due: bool) -> None:
    assert is_due(age_s=age_s, busy_s=busy_s, attempts=attempts, interval_s=60, most_attempts=100) is due


def test_use_tells_what_a_million_tokens_cost_and_would_have() -> None:
    use = Use(3600.0, 900.0, Decimal(2), Decimal("0.5"), 900_000, 50_000, 50_000)
    assert (use.million_usd, use.million_busy_usd) == (Decimal(2), Decimal("0.5"))
    assert use.per_second(use.prefill_tokens) == 1000
    nothing = Use(3600.0, 0.0, Decimal(2), ZERO, 0, 0, 0)
    assert (nothing.million_usd, nothing.per_second(0)) == (None, 0.0)
