"""The figures of a batch."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.summary import DEAREST, POINTS, Sample, Summary, Times, summed
from tests.delivery.lines import SCHEMA, failed, invoices, line
from tests.delivery.memory import grown
from tests.delivery.test_answers import ANY_LINE


def test_counts_costs_and_sources_add_up_to_the_lines() -> None:
    lines = list(invoices(500))
    summary = summed(lines, SCHEMA)
    ours = [one["rightsize"] for one in lines]
    assert (summary.documents, summary.failed) == (500, sum(one["error"] is not None for one in lines))
    assert summary.cost_usd == sum(Decimal(one["cost_usd"]) for one in ours)
    assert sum((tier.cost_usd for tier in summary.tiers.values()), Decimal(0)) == summary.cost_usd
    assert sum(tier.documents for tier in summary.tiers.values()) == 500
    assert summary.pages == sum(summary.sources.values()) == sum(one["document"]["pages"] for one in ours)
    assert summary.reused == sum(bool(one.get("reused")) for one in ours)
    assert summary.tasks == Counter({"invoice-fields": summary.done})


def test_a_field_is_counted_as_filled_found_and_to_review() -> None:
    summary = summed(
        [
            line(answer={"total": 1}, fields={"/total": {"found": True}}),
            line(answer={"total": 0}, fields={"/total": {"found": False, "review": "not_in_source"}}),
            line(answer={"total": None}, fields={"/total": {"found": False, "review": "low_confidence"}}),
            line(answer={"total": False}),
            line(answer={"total": ""}),
            failed(),
            line(answer="# text"),
        ],
        {"type": "object", "properties": {"total": {}, "never": {}}},
    )
    total = summary.fields["total"]
    assert (summary.with_data, total.filled, total.found, total.missed, total.to_review) == (5, 3, 1, 1, 2)
    assert total.review == {"not_in_source": 1, "low_confidence": 1}
    assert summary.to_review == 2
    assert summary.fields["never"].filled == 0


def test_without_a_schema_the_fields_are_those_that_the_answers_have() -> None:
    summary = summed([line(answer={"a": 1, "b": {"c": 2}}), line(answer={"a": 3, "d": []})])
    assert {name: field.filled for name, field in summary.fields.items()} == {"a": 2, "b.c": 1, "d": 0}


def test_what_reuse_saved_is_counted_at_the_mean_of_the_tier() -> None:
    lines = [
        line(cost_usd="2", engine_s=4, tier="llm"),
        line(cost_usd="4", engine_s=6, tier="llm"),
        line(cost_usd="100", engine_s=1, tier="rlm"),
    ]
    lines += [line(cost_usd="0", engine_s=None, reused=True, tier="llm")] * 2
    summary = summed(lines)
    assert summary.saved_usd == 6
    assert summary.saved_s == 10


def test_nothing_is_said_to_be_saved_where_nothing_tells_how_much() -> None:
    assert summed([line(reused=True, cost_usd="0")]).saved_usd is None
    assert summed([line()]).saved_usd is None


def test_money_is_added_without_a_rest() -> None:
    summary = Summary()
    for _ in range(10_000):
        summary.add(line(cost_usd="0.000000000001"))
    assert summary.cost_usd == Decimal("0.00000001")


@given(st.lists(st.floats(0.0001, 100_000), min_size=1, max_size=200))
def test_the_median_is_within_one_percent(values: list[float]) -> None:
    times = Times()
    for value in values:
        times.add(value)
    low, high = sorted(values)[(len(values) - 1) // 2], median(values)
    assert times.median_s is not None
    assert low * 0.99 <= times.median_s <= max(low, high) * 1.01
    assert times.sum_s == pytest.approx(sum(values))


def test_each_point_has_the_same_chance_to_be_drawn() -> None:
    sums: Counter[int] = Counter()
    for seed in range(300):
        sample = Sample(10, seed)
        for number in range(100):
            sample.add(number, 1.0)
        assert len(sample.points) == 10
        sums.update(number // 10 for number, _ in sample.points)
    assert all(230 < sums[part] < 370 for part in range(10))


def test_the_most_expensive_documents_are_kept_in_their_order() -> None:
    costs = list(range(1, 200))
    random.Random(1).shuffle(costs)
    summary = summed(line(f"{cost}", cost_usd=str(cost)) for cost in costs)
    assert [one.name for one in summary.dearest] == [str(199 - place) for place in range(DEAREST)]
    same = summed(line(f"{place}", cost_usd="1") for place in range(50))
    assert [one.name for one in same.dearest] == [str(place) for place in range(DEAREST)]


def test_simulated_and_cut_answers_are_counted() -> None:
    told = line(simulated=True)
    told["response"]["body"]["choices"][0]["finish_reason"] = "length"
    summary = summed([told, line()])
    assert (summary.simulated, summary.cut, summary.models["llama-70b"].simulated) == (1, 1, 1)


def test_names_without_end_are_counted_in_bounded_memory() -> None:
    summary = summed(
        line(
            answer={f"f{n}": 1},
            tier=f"t{n}",
            model=f"m{n}",
            task=f"a{n}",
            document={"name": f"{n}", "kind": f"k{n}", "chars": 5},
        )
        for n in range(2_000)
    )
    assert max(map(len, (summary.tiers, summary.models, summary.tasks, summary.kinds, summary.samples))) <= 61
    assert len(summary.fields) <= 300
    assert sum(tier.documents for tier in summary.tiers.values()) == 2_000
    assert all(len(sample.points) <= POINTS for sample in summary.samples.values())


@given(st.lists(ANY_LINE, max_size=6))
def test_any_line_can_be_added(lines: list[dict[str, Any]]) -> None:
    summary = summed(lines)
    assert summary.documents == summary.done + summary.failed == len(lines)


@pytest.mark.slow
def test_a_hundred_thousand_lines_take_no_more_memory_than_some() -> None:
    grown_kib = grown(
        """
        from orchestrator.delivery.summary import summed
        count = lambda many: summed(lines(many), SCHEMA).documents
        """
    )
    assert grown_kib < 8_000
