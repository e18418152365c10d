"""Jobs, explain, cost, models, health and metrics."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from orchestrator import telemetry
from orchestrator.flow import administer, read
from orchestrator.flow.administer import Actor
from orchestrator.flow.authenticate import SCOPES
from orchestrator.flow.dispatch import Dispatcher
from orchestrator.store import gauges
from orchestrator.store.session import Database
from tests.serving import Api
from tests.stack import Stack, chat, rows, until


def job(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/jobs/{job_id}").json()
    return found


def done(api: Api, job_id: str) -> dict[str, Any]:
    return until(lambda: (found := job(api, job_id))["state"] not in ("queued", "assigned", "waiting") and found)


def test_a_job_tells_everything_that_became_of_it(api: Api) -> None:
    response = api.post("/v1/jobs", {"body": chat("[[fail:502:1]] Hello"), "deadline": "10m"})
    assert (response.status_code, response.json()["object"]) == (202, "job")
    found = done(api, response.json()["id"])
    assert found["state"] == "succeeded"
    assert found["expires_at"] - found["created_at"] == 600
    assert found["route"]["reasons"]
    assert [(a["attempt"], a["outcome"]) for a in found["attempts"]] == [(1, "retry"), (2, "succeeded")]
    assert found["result"]["choices"][0]["message"]["content"]
    (charge,) = found["charges"]
    assert Decimal(charge["amount_usd"]) == Decimal(found["cost_usd"]) > 0
    assert [(c["attempt"], c["borne_by"]) for c in found["costs"]] == [(1, "house"), (2, "caller")]


def test_a_failed_job_says_why_and_costs_nothing(api: Api) -> None:
    found = done(api, api.post("/v1/jobs", {"body": chat("[[fail:400]]")}).json()["id"])
    assert (found["state"], found["error"]["code"], found["result"], found["charges"]) == (
        "failed",
        "bad_request",
        None,
        [],
    )


def test_a_job_is_cancelled_and_stays_so(api: Api) -> None:
    made = api.post("/v1/jobs", {"body": chat("[[sleep:3]] Hi")}).json()
    assert api.post(f"/v1/jobs/{made['id']}/cancel", {}).json()["state"] == "cancelled"
    assert api.post(f"/v1/jobs/{made['id']}/cancel", {}).json()["state"] == "cancelled"
    assert job(api, made["id"])["charges"] == []


def test_i7_the_same_idempotency_key_gives_the_same_job(api: Api) -> None:
    key = {"Idempotency-Key": "job-1"}
    first, second = (api.post("/v1/jobs", {"body": chat("Hi")}, headers=key).json()["id"] for _ in range(2))
    assert first == second
    assert api.post("/v1/jobs", {"body": chat("Other")}, headers=key).status_code == 409


@pytest.mark.parametrize(
    "body", [{}, {"body": 1}, {"body": chat("x"), "deadline": "soon"}, {"body": chat("x"), "price": 0}]
)
def test_a_wrong_job_is_refused(api: Api, body: dict[str, object]) -> None:
    assert api.post("/v1/jobs", body).status_code == 400


# Explain


@pytest.mark.parametrize(
    "body,rule,tier,asked",
    [
        (chat("Hello"), "default", "llm", 5),
        (chat("Merge?", rightsize={"stakes": "high"}), "high_stakes", "rlm", 3),
        ({**chat("Hello"), "model": "rlm"}, "explicit_tier", "rlm", 1),
        ({**chat("Hello"), "model": "thinker"}, "explicit_model", "rlm", 1),
    ],
    ids=["default", "stakes", "tier", "model"],
)
def test_explain_walks_the_tree_to_the_question_that_decides(
    api: Api, body: dict[str, object], rule: str, tier: str, asked: int
) -> None:
    before = api.stack.count("SELECT count(*) FROM jobs")
    found = api.post("/v1/explain", {"body": body}).json()
    assert (found["route"]["rule"], found["route"]["tier"], found["problem"]) == (rule, tier, None)
    assert [step["answer"] for step in found["tree"]] == ["no"] * (asked - 1) + ["yes"]
    assert [factor["name"] for factor in found["factors"]] == [
        "task complexity",
        "response time",
        "budget",
        "input type",
    ]
    assert {one["model"] for one in found["alternatives"]} == {"fast", "thinker", "eyes", "specialist"}
    assert [one["tier"] for one in found["alternatives"] if one["chosen"]] == [tier]
    assert all(Decimal(one["hold_usd"]) >= Decimal(one["cost_usd"]) for one in found["alternatives"])
    assert api.stack.count("SELECT count(*) FROM jobs") == before


def test_explain_says_what_excludes_every_model(api: Api) -> None:
    found = api.post("/v1/explain", {"body": chat("Hello", rightsize={"max_cost_usd": "0.0000001"})}).json()
    assert found["route"] is None
    assert "over the bound" in found["problem"]
    assert all(one["problem"] for one in found["alternatives"])


# Cost


def test_costs_add_up_to_the_last_digit_whatever_they_are_sorted_by(api: Api) -> None:
    batch = api.stack.submit(rows(30))
    api.stack.wait(batch)
    name = f"batch_{api.stack.batch(batch).public_id.hex}"
    booked = api.stack.query("SELECT sum(amount_usd) FROM transfers WHERE kind = 'charge'")[0][0]
    for by in ("batch", "tier", "model", "day"):
        found = api.http.get(f"/v1/cost?by={by}").json()
        assert Decimal(found["total"]["charge_usd"]) == booked
        assert sum(Decimal(one["charge_usd"]) for one in found["data"]) == booked
        of_batch = api.http.get(f"/v1/cost?by={by}&batch={name}").json()
        assert of_batch["total"]["jobs"] == 30
        assert of_batch["total"]["charge_usd"] == api.stack.batch(batch).final["cost_usd"]
    assert {one["key"] for one in api.http.get("/v1/cost?by=batch").json()["data"]} >= {name}
    assert api.http.get(f"/v1/cost?batch=batch_{'0' * 32}").status_code == 404


def test_i8_another_tenant_sees_nothing_of_it(api: Api) -> None:
    made = api.post("/v1/jobs", {"body": chat("Canary")}).json()["id"]
    batch = api.stack.submit(rows(1))
    shown = api.stack.batch(batch)
    theirs = {"Authorization": f"Bearer {other_tenant(api)}"}
    name, file = f"batch_{shown.public_id.hex}", f"file_{shown.input_file.hex}"
    for path in (
        f"/v1/jobs/{made}",
        f"/v1/batches/{name}",
        f"/v1/files/{file}",
        f"/v1/files/{file}/content",
        f"/v1/cost?batch={name}",
        "/v1/cost/machines",
    ):
        assert api.http.get(path, headers=theirs).status_code == 404, path
    for path in (f"/v1/jobs/{made}/cancel", f"/v1/batches/{name}/cancel"):
        assert api.http.post(path, headers=theirs).status_code == 404, path
    create = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert api.post("/v1/batches", create, headers=theirs).status_code == 404
    assert api.http.get("/v1/batches", headers=theirs).json()["data"] == []
    assert api.http.get("/v1/cost", headers=theirs).json()["total"]["charge_usd"] == "0"


def other_tenant(api: Api) -> str:
    """A key of a tenant of its own, which may do everything there."""
    actor = Actor(1, "test")
    row = administer.create_tenant(api.stack.context, actor, "other")
    return administer.create_key(api.stack.context, Actor(row.id, "test"), "other", scopes=SCOPES).key


# Models, health, metrics


def test_the_models_are_auto_the_tiers_and_the_models(api: Api) -> None:
    names = [model.id for model in api.openai.models.list()]
    assert names == ["auto", "slm", "llm", "rlm", "mllm", "fast", "thinker", "eyes", "specialist"]
    assert api.openai.models.retrieve("fast").model_extra["rightsize"]["simulated"]
    assert api.http.get("/v1/models/none").json()["error"]["code"] == "model_not_found"


def test_health_says_what_is_there(api: Api) -> None:
    assert api.http.get("/livez").json() == {"status": "ok"}
    ready = api.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "redis": "ok", "disk": "ok"})


def test_metrics_have_the_names_of_the_table_and_no_tenants_data(api: Api) -> None:
    api.post("/v1/chat/completions", chat("canary-in-the-prompt"))
    api.http.get("/v1/not/a/route/canary")
    shown = api.http.get("/metrics", headers={"Authorization": ""}).text
    families = {family.name: family for family in text_string_to_metric_families(shown)}
    assert {name.removesuffix("_total") for name in telemetry.METRICS} <= set(families)
    assert "canary" not in shown
    workers = {sample.labels["model"]: sample.value for sample in families["rightsize_workers"].samples}
    assert workers["fast"] == 1
    routes = {
        sample.labels["route"] for sample in families["rightsize_http_requests"].samples if "route" in sample.labels
    }
    assert {"/v1/chat/completions", "elsewhere"} <= routes


def test_gauges_count_what_is_queued_and_how_old_it_is(stack: Stack) -> None:
    batch = stack.submit(rows(40))
    read.read_batch(stack.context, batch)
    with stack.context.database.unit_of_work() as session:
        found = {one.model: one for one in gauges.gauges(session, ["fast", "thinker"], 10.0)}
    assert (found["fast"].queued, found["thinker"].queued) == (40, 0)
    assert found["fast"].oldest_s > 0 == found["thinker"].oldest_s
    assert (found["fast"].dispatches, found["fast"].workers, found["fast"].slots) == (0, 0, 0)


def test_queued_work_is_told_in_seconds_of_one_worker_with_workers_and_without(stack: Stack) -> None:
    batch = stack.submit(rows(40))
    read.read_batch(stack.context, batch)
    model = stack.context.config.fleet.named("fast")

    def work_s() -> float:
        with stack.context.database.unit_of_work() as session:
            (found,) = gauges.gauges(session, ["fast"], 10.0)
        return found.work_s(model)

    by_the_fleet = 40 * model.expected_latency_s / (model.slots * (1 - model.reserve))
    assert work_s() == pytest.approx(by_the_fleet)
    worker = (
        "INSERT INTO workers (worker_id, model, tier, slots, latency_s, host, pid, fleet_version) "
        "VALUES (gen_random_uuid(), 'fast', 'llm', 8, 4.0, 'here', 1, 1) RETURNING pid"
    )
    for _ in range(3):  # the measured time and slots of one worker count, and not how many there are
        with closing(Database(stack.settings, "worker", connections=1)) as database, database.unit_of_work() as session:
            session.execute(text(worker))
        assert work_s() == pytest.approx(40 * 4.0 / 8)
    assert Dispatcher(stack.context).pass_over(model) > 0
    assert work_s() == pytest.approx(40 * 4.0 / 8)  # what is on its way is still to be done


def test_openapi_describes_every_body(api: Api) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]
    for path in ("/v1/batches", "/v1/jobs", "/v1/explain", "/v1/files", "/v1/chat/completions"):
        assert "requestBody" in paths[path]["post"], path
