"""A cascade: the first tier is asked first, what it answers in the wrong form is charged apart, and the next tier takes over."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings import Settings
from tests.serving import Api, serve
from tests.stack import Stack, chat, row

FLEET = """
[policy]
default_tier = "llm"
max_attempts = 3
retry_base_s = 0.1
retry_max_s = 0.5
"""
MODEL = """
[models.{name}]
tier = "{tier}"
engine = "simulated"
slots = 8
expected_latency_s = 0.01
[models.{name}.simulate]
latency_s = [0.0, 0.0]
accuracy = {accuracy}
obey_markers = true
[[models.{name}.rates]]
request = "{price}"
"""
PRICE = {"small": "0.001", "large": "0.05", "deep": "0.5"}
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "schema": {"type": "object", "properties": {"label": {"type": "string", "pattern": "^right$"}}, "required": ["label"]},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def module_stack(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A small model that is always wrong, a large one that is right, and a deep one that is wrong again."""
    models = [("small", "slm", 0.0), ("large", "llm", 1.0), ("deep", "rlm", 0.0)]
    fleet: Path = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    made = (MODEL.format(name=name, tier=tier, accuracy=right, price=PRICE[name]) for name, tier, right in models)
    fleet.write_text(FLEET + "".join(made), "utf-8")
    with Stack(module_settings.model_copy(update={"config": fleet})) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker("slm", "llm", "rlm")
        yield stack


@pytest.fixture(scope="module")
def api(module_stack: Stack) -> Iterator[Api]:
    with serve(module_stack) as made:
        yield made


def asked(*cascade: str, **more: Any) -> dict[str, Any]:
    """A request whose answer must be `right`."""
    return chat("Which?", metadata={"expected": "right", "labels": "right,wrong"}, response_format=FORM,
                rightsize={"cascade": list(cascade)}, **more)  # fmt: skip


def told(api: Api, job: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/jobs/{job}").json()
    return found


def test_the_next_tier_takes_over_and_the_caller_pays_both_and_sees_one_answer(api: Api) -> None:
    answer = api.post("/v1/chat/completions", asked("slm", "llm", "rlm"))
    assert answer.status_code == 200, answer.text
    ours = answer.json()["rightsize"]
    assert (ours["tier"], ours["model"], ours["rule"], ours["attempts"]) == ("llm", "large", "cascade", 2)
    assert Decimal(ours["cost_usd"]) == Decimal(PRICE["small"]) + Decimal(PRICE["large"])
    job = told(api, answer.headers["x-rightsize-job"])
    assert [(one["tier"], one["outcome"]) for one in job["attempts"]] == [("slm", "rejected"), ("llm", "succeeded")]
    assert [(one["tier"], one["borne_by"]) for one in job["charges"]] == [("slm", "caller"), ("llm", "caller")]
    assert job["cost_usd"] == ours["cost_usd"]
    api.stack.must_hold()


def test_a_request_that_may_escalate_begins_where_it_is_routed_and_goes_one_tier_up(api: Api) -> None:
    body = {**asked(), "rightsize": {"escalate": True, "max_tier": "llm", "tier": "slm"}}
    ours = api.post("/v1/chat/completions", body).json()["rightsize"]
    assert (ours["tier"], ours["rule"], ours["attempts"]) == ("llm", "explicit_tier", 2)
    held = api.post("/v1/chat/completions", {**body, "rightsize": {"escalate": True, "max_tier": "slm"}})
    assert (held.status_code, held.json()["error"]["code"]) == (422, "wrong_form")


def test_where_the_first_answer_is_accepted_nobody_else_is_asked(api: Api) -> None:
    ours = api.post("/v1/chat/completions", asked("llm", "rlm")).json()["rightsize"]
    assert (ours["tier"], ours["attempts"], Decimal(ours["cost_usd"])) == ("llm", 1, Decimal(PRICE["large"]))


def test_where_nobody_is_accepted_the_job_fails_and_the_last_answer_is_ours(api: Api) -> None:
    answer = api.post("/v1/chat/completions", asked("slm", "rlm"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wrong_form")
    job = told(api, answer.headers["x-rightsize-job"])
    assert [one["outcome"] for one in job["attempts"]] == ["rejected", "failed"]
    assert Decimal(job["cost_usd"]) == Decimal(PRICE["small"])
    assert [one["borne_by"] for one in job["costs"]] == ["caller", "house"]
    api.stack.must_hold()


def test_a_batch_counts_each_row_once_and_its_cost_whole(api: Api) -> None:
    lines = [row(f"row-{number}", asked("slm", "llm")) for number in range(20)]
    batch = api.stack.submit(lines)
    api.stack.wait(batch)
    api.stack.must_hold(batch, 20)
    found = api.stack.lines(batch)
    each = Decimal(PRICE["small"]) + Decimal(PRICE["large"])
    assert {(line["rightsize"]["tier"], Decimal(line["rightsize"]["cost_usd"])) for line in found} == {("llm", each)}
    final = api.stack.batch(batch).final
    assert (final["completed"], Decimal(final["cost_usd"])) == (20, 20 * each)
    assert {tier: (one["completed"], Decimal(one["cost_usd"])) for tier, one in final["tiers"].items()} == {
        "slm": (0, 20 * Decimal(PRICE["small"])), "llm": (20, 20 * Decimal(PRICE["large"])),
    }  # fmt: skip
    with api.client as client:
        usage = client.usage(by=["tier"])
    assert Decimal(usage["total"]["rejected_usd"]) >= 20 * Decimal(PRICE["small"])


def test_a_budget_holds_what_all_of_a_cascade_can_cost(api: Api) -> None:
    whole = sum(map(Decimal, PRICE.values()))
    refused = api.post("/v1/chat/completions", {**asked("slm", "llm", "rlm"), "rightsize": {
        "cascade": ["slm", "llm", "rlm"], "max_cost_usd": str(whole - Decimal("0.001"))}})  # fmt: skip
    job = told(api, refused.headers["x-rightsize-job"])
    assert any("With deep it could cost" in reason for reason in job["route"]["reasons"])


def test_streams_models_and_bounds_do_not_go_with_a_cascade(api: Api) -> None:
    for body, param in (
        ({**asked("slm", "llm"), "stream": True}, "stream"),
        ({**asked("slm", "llm"), "model": "large"}, "model"),
        ({**asked("slm", "llm"), "rightsize": {"cascade": ["slm", "llm"], "tier": "llm"}}, "cascade"),
        ({**asked("slm", "llm"), "rightsize": {"cascade": ["slm"]}}, "cascade"),
        ({**asked("slm", "llm"), "rightsize": {"cascade": ["slm", "slm"]}}, "cascade"),
    ):
        answer = api.post("/v1/chat/completions", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_a_deadline_ends_a_request_sooner_and_is_for_single_ones(api: Api) -> None:
    late = api.post("/v1/chat/completions", chat("[[sleep:30]]", rightsize={"deadline": "1s"}))
    assert late.status_code == 504
    refused = api.stack.submit([row("a", chat("Hello", rightsize={"deadline": "1h"}))])
    assert api.stack.wait(refused).status == "failed"
    assert "completion_window" in api.stack.batch(refused).errors["data"][0]["message"]
