"""What a batch would cost, told before it runs and held against what it did cost."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from orchestrator.api import batches
from tests.api.test_batches import create, ended, upload
from tests.serving import Api
from tests.stack import chat, row, rows


def estimate(api: Api, lines: list[dict[str, object]], **more: object) -> dict[str, object]:
    response = api.post("/v1/batches/estimate", {"input_file_id": upload(api, lines), **more})
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()
    return found


def test_an_estimate_is_told_by_tier_with_its_interval_and_on_every_other_tier_and_runs_nothing(api: Api) -> None:
    before = api.stack.count("SELECT count(*) FROM jobs")
    lines = [
        *rows(30),
        *(row(f"g-{n}", chat("Merge?", rightsize={"stakes": "high"})) for n in range(5)),
        {"custom_id": "row-0"},
    ]
    found = estimate(api, lines)
    assert (found["rows"], found["invalid_rows"]) == (36, 1)
    assert {tier: one["jobs"] for tier, one in found["tiers"].items()} == {"llm": 30, "rlm": 5}  # type: ignore[attr-defined]
    assert set(found["alternatives"]) == {"llm", "rlm", "mllm"}  # type: ignore[call-overload]
    for one in (found["total"], *found["tiers"].values(), *found["alternatives"].values()):  # type: ignore[attr-defined]
        cost = {name: Decimal(value) for name, value in one["cost_usd"].items()}  # type: ignore[index]
        assert 0 <= cost["low"] <= cost["expected"] <= cost["high"] <= Decimal(one["at_most_usd"])  # type: ignore[index]
        assert one["seconds"]["low"] <= one["seconds"]["expected"] <= one["seconds"]["high"]  # type: ignore[index]
    assert api.stack.count("SELECT count(*) FROM jobs") == before


def test_history_narrows_the_interval_and_the_truth_lies_in_it(api: Api) -> None:
    def lines(first: int) -> list[dict[str, object]]:
        return [
            row(f"r-{n}", chat(f"Where is parcel {n}?", rightsize={"task": "parcels"}))
            for n in range(first, first + 60)
        ]

    before = estimate(api, lines(0))["total"]["cost_usd"]  # type: ignore[index]
    ended(api, create(api, lines(0)))
    ended(api, create(api, lines(100)))
    after = estimate(api, lines(200))
    told = after["total"]["cost_usd"]  # type: ignore[index]
    width = [Decimal(one["high"]) - Decimal(one["low"]) for one in (before, told)]
    assert width[1] < width[0]
    assert after["basis"][0]["basis"] == "task_on_model"  # type: ignore[index]
    batch = ended(api, create(api, lines(200)))
    assert Decimal(told["low"]) <= Decimal(batch.model_extra["rightsize"]["cost_usd"]) <= Decimal(told["high"])  # type: ignore[index]


def test_estimates_of_one_tenant_leave_room_for_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_OF_TENANT", 0)
    response = api.post("/v1/batches/estimate", {"input_file_id": upload(api, rows(1))})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "backpressure")


def test_an_estimate_says_what_may_not_end_within_its_window(api: Api) -> None:
    lines = [row(f"slow-{n}", chat(f"Merge {n}?", model="thinker", max_tokens=2_000)) for n in range(400)]
    told = estimate(api, lines)
    assert (told["completion_window"], told["late"]) == ("24h", None)
    seconds = told["total"]["seconds"]  # type: ignore[index]
    assert seconds["expected"] > 2
    late = estimate(api, lines, completion_window="1s")
    assert late["completion_window"] == "1s"
    assert "is expected to take about" in str(late["late"])
    assert "and has 1 s (1s): rows that have not run by then expire" in str(late["late"])
    between = f"{math.ceil(seconds['expected'])}s"
    if seconds["high"] > math.ceil(seconds["expected"]):
        assert "It may take about" in str(estimate(api, lines, completion_window=between)["late"])
    assert estimate(api, lines, completion_window=f"{math.ceil(seconds['high']) + 60}s")["late"] is None


@pytest.mark.parametrize(
    "change, status",
    [({"completion_window": "soon"}, 400), ({"completion_window": "31d"}, 400), ({"input_file_id": f"file_{'0' * 32}"}, 404), ({"endpoint": "/v1/nope"}, 400), ({"rightsize": {"tier": "huge"}}, 400), ({"x": 1}, 400)],
    ids=str,
)  # fmt: skip
def test_a_wrong_estimate_is_refused(api: Api, change: dict[str, object], status: int) -> None:
    response = api.post("/v1/batches/estimate", {"input_file_id": upload(api, rows(1)), **change})
    assert response.status_code == status
