"""The figures of a replay, from made-up answers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bench import figures
from orchestrator.bench.figures import Sent


@pytest.mark.parametrize("share, value", [(0.5, 50), (0.9, 90), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_value_of_its_rank(share: float, value: float) -> None:
    assert figures.percentile(range(1, 101), share) == value
    assert figures.percentile([7.0], share) == 7.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_rise_and_are_values_that_were_measured(values: list[float]) -> None:
    found = list(figures.latencies(values).values())
    assert found == sorted(found)
    assert found[-1] == round(max(values), 6)


def test_tiers_errors_and_costs_add_up() -> None:
    sent = [
        Sent(0.0, 0.0, 1.0, 200, tier="llm", input_tokens=10, output_tokens=20, cost_usd=Decimal("0.1")),
        Sent(1.0, 0.2, 3.0, 200, tier="llm", input_tokens=10, output_tokens=20, cost_usd=Decimal("0.2")),
        Sent(2.0, 0.0, 0.1, 429, "backpressure"),
        Sent(3.0, 0.0, 9.0, 504, "timeout", tier="rlm"),
    ]
    found = figures.summary(sent, due=6, not_sent=1, unanswered=1, elapsed_s=4.0)
    assert found["requests"] == {"due": 6, "answered": 2, "failed": 2, "not_sent": 1, "unanswered": 1, "late": 1}
    assert found["tiers"]["llm"]["latency_s"]["p50"] == 1.0
    assert found["tiers"]["rlm"] == {"answered": 0, "failed": 1, "latency_s": {}, "cost_usd": "0"}
    assert found["errors"] == {"backpressure": 1, "timeout": 1}
    assert (found["output_tokens_per_s"], found["requests_per_s"], found["cost_usd"]) == (10.0, 0.5, "0.3")
