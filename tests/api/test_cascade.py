"""A cascade: the first tier is asked first, what it answers in the wrong form is charged apart, and the next tier takes over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ids
from orchestrator.flow import cancel
from orchestrator.flow.again import Again, retry_batch
from orchestrator.settings import Settings
from tests.serving import Api, serve
from tests.stack import OWNER, Stack, chat, row, until

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
slots = {slots}
expected_latency_s = 0.01
[models.{name}.simulate]
latency_s = [0.0, 0.0]
accuracy = {accuracy}
obey_markers = true
[[models.{name}.rates]]
request = "{price}"
"""
SLOTS = {"small": 16, "large": 2, "deep": 8}
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
    made = (
        MODEL.format(name=name, tier=tier, accuracy=right, price=PRICE[name], slots=SLOTS[name])
        for name, tier, right in models
    )
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
        mine = client.usage(by=["tier"], batch=ids.public("batch", api.stack.batch(batch).public_id))
    assert Decimal(usage["total"]["rejected_usd"]) >= 20 * Decimal(PRICE["small"])
    assert Decimal(mine["total"]["rejected_usd"]) == 20 * Decimal(PRICE["small"])
    name = ids.public("batch", api.stack.batch(batch).public_id)
    cost = api.http.get(f"/v1/cost?by=tier&batch={name}").json()
    assert {one["key"]: Decimal(one["rejected_usd"]) for one in cost["data"]} == {
        "slm": 20 * Decimal(PRICE["small"]),
        "llm": 0,
    }
    assert 'rightsize_rejected_share{model="small"}' in api.http.get("/metrics").text


def test_a_cap_leaves_out_the_models_that_could_pass_it(api: Api) -> None:
    whole = sum(map(Decimal, PRICE.values()))
    answer = api.post("/v1/chat/completions", {**asked("slm", "llm", "rlm"), "rightsize": {
        "cascade": ["slm", "llm", "rlm"], "max_cost_usd": str(whole - Decimal("0.001"))}})  # fmt: skip
    job = told(api, answer.headers["x-rightsize-job"])
    assert any("With deep it could cost" in reason for reason in job["route"]["reasons"])


def test_the_most_that_a_job_may_be_charged_gets_less_with_each_answer_that_is_paid(api: Api) -> None:
    made = api.post("/v1/jobs", {"endpoint": "/v1/chat/completions", "body": asked("slm", "llm", "rlm")}).json()
    found = api.stack.wait_job(ids.parse("job", made["id"]))
    whole = sum(map(Decimal, PRICE.values()))
    (job,) = api.stack.query("SELECT worst_usd, held_usd, earlier_attempts FROM jobs WHERE id = :id", id=found.id)
    assert (job.worst_usd, job.held_usd, job.earlier_attempts) == (whole - Decimal(PRICE["small"]), 0, 1)


def test_a_limit_that_is_set_later_binds_what_another_model_is_about_to_take_over(api: Api) -> None:
    """Two hundred rows of which each goes on to a dear tier: a limit set meanwhile stops them there."""
    slow = chat("[[sleep:0.05]] Which?", metadata={"expected": "right", "labels": "right,wrong"}, response_format=FORM,
                rightsize={"cascade": ["slm", "rlm"]})  # fmt: skip
    batch = api.stack.submit([row(f"row-{number}", slow) for number in range(200)])
    spent = "SELECT coalesce(sum(amount_usd), 0) AS usd FROM transfers WHERE kind IN ('charge', 'rejected') AND batch_id = :b"
    until(lambda: api.stack.query(spent, b=batch)[0].usd > Decimal("0.05"), what="some rows are answered")
    with api.client as client:
        (before,) = client.usage(by=["tenant"])["data"]
        limit = Decimal(before["charge_usd"]) + 10
        client.admin.set_budget(str(limit), scope="tenant")
        try:
            until(lambda: api.stack.batch(batch).held_back is not None, 30, "it is held back")
            time.sleep(1)
            (after,) = client.usage(by=["tenant"])["data"]
            assert Decimal(after["charge_usd"]) <= limit
        finally:
            client.admin.set_budget(None, scope="tenant")
    assert api.stack.wait(batch, 60).status == "completed"
    api.stack.must_hold(batch, 200)


def test_a_lone_request_is_not_behind_the_rows_of_another_cascade(api: Api) -> None:
    """What goes on to another model stands in its own lane there: hundreds of rows of a batch do not go first."""
    slow = chat("[[sleep:0.2]] Which?", metadata={"expected": "right", "labels": "right,wrong"}, response_format=FORM,
                rightsize={"cascade": ["slm", "llm"]})  # fmt: skip
    batch = api.stack.submit([row(f"row-{number}", slow) for number in range(400)])
    waiting = "SELECT count(*) FROM jobs WHERE batch_id = :b AND model = 'large' AND state = 1"
    until(lambda: api.stack.count(waiting, b=batch) > 50, 30, "many rows wait for the second model")
    answer = api.post("/v1/chat/completions", asked("slm", "llm"))
    assert answer.json()["rightsize"]["tier"] == "llm"
    assert api.stack.count("SELECT count(*) FROM jobs WHERE batch_id = :b AND state < 10", b=batch) > 100
    cancel.cancel_batch(api.stack.context, OWNER, api.stack.batch(batch).public_id)
    api.stack.wait(batch)


def test_each_model_of_a_cascade_has_its_own_attempts(api: Api) -> None:
    """The first is tried twice for a server that fails, and the second as often again; one counter would end it."""
    body = {**asked("slm", "llm"), "messages": [{"role": "user", "content": "[[fail:500:2]] Which?"}]}
    answer = api.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    job = told(api, answer.headers["x-rightsize-job"])
    assert [(one["tier"], one["outcome"]) for one in job["attempts"]][-1] == ("llm", "succeeded")
    assert [one["tier"] for one in job["attempts"]].count("slm") == 3
    api.stack.must_hold()


def test_an_answer_that_was_cut_off_is_not_asked_of_a_dearer_model(api: Api) -> None:
    body = {**asked("slm", "llm"), "max_tokens": 1}
    answer = api.post("/v1/chat/completions", body)
    job = told(api, answer.headers["x-rightsize-job"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wrong_form")
    assert [one["outcome"] for one in job["attempts"]] == ["failed"]
    assert "max_tokens" in answer.json()["error"]["message"]


def test_a_failure_says_what_was_paid_for_it_and_charges_say_their_kind(api: Api) -> None:
    answer = api.post("/v1/chat/completions", asked("slm", "rlm"))
    ours = answer.json()["rightsize"]
    assert (Decimal(ours["cost_usd"]), ours["attempts"], ours["tier"]) == (Decimal(PRICE["small"]), 2, "rlm")
    good = told(api, api.post("/v1/chat/completions", asked("slm", "llm")).headers["x-rightsize-job"])
    assert [one["kind"] for one in good["charges"]] == ["rejected", "charge"]


def test_an_estimate_counts_the_models_that_may_take_over_and_learns_how_often_they_do(api: Api) -> None:
    task = "told-apart"
    body = asked("slm", "llm")
    body["rightsize"]["task"] = task
    lines = [row(f"row-{number}", body) for number in range(50)]
    with api.client as client:
        first = client.estimate([dict(one) for one in lines])
        assert first["total"]["jobs"] == 50
        assert {tier: one["jobs"] for tier, one in first["tiers"].items()} == {"slm": 50, "llm": 3}
        api.stack.wait(api.stack.submit(lines))
        later = client.estimate([dict(one) for one in lines])
    assert later["total"]["jobs"] == 50
    assert later["tiers"]["llm"]["jobs"] >= 40
    each = Decimal(PRICE["small"]) + Decimal(PRICE["large"])
    assert Decimal(later["total"]["cost_usd"]["expected"]) == pytest.approx(50 * each, rel=Decimal("0.2"))
    assert Decimal(later["total"]["at_most_usd"]) >= 50 * each


def test_what_is_tried_again_one_tier_up_keeps_to_its_callers_bound(api: Api) -> None:
    bound = {**asked(), "rightsize": {"max_tier": "slm", "tier": "slm"}}
    batch = api.stack.submit([row("a", bound)])
    assert api.stack.wait(batch).final["failed"] == 1
    again = retry_batch(api.stack.context, OWNER, api.stack.batch(batch).public_id, Again(tier="up"), None)
    assert api.stack.wait(again.id).final["failed"] == 1
    (line,) = api.stack.lines(again.id)
    assert line["rightsize"]["tier"] == "slm"


def test_explain_shows_who_takes_over_and_whom_bounds_exclude(api: Api) -> None:
    def explained(**hints: Any) -> dict[str, Any]:
        body = {"endpoint": "/v1/chat/completions", "body": chat("Hello", rightsize=hints)}
        found: dict[str, Any] = api.post("/v1/explain", body).json()
        return found

    found = explained(cascade=["slm", "llm", "rlm"])
    assert found["route"]["cascade"] == ["large", "deep"]
    assert [one["answer"] for one in found["tree"]] == ["yes"]
    bounded = {one["tier"]: one["problem"] for one in explained(max_tier="llm")["alternatives"]}
    assert bounded == {"slm": None, "llm": None, "rlm": "The caller wants llm at most."}


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
