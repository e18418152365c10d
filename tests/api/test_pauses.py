"""Pause, resume, caps and the second run of what failed."""

from __future__ import annotations

import time
from decimal import Decimal

import orjson
import pytest

from orchestrator.api import batches
from tests.api.test_batches import create, ended
from tests.serving import Api
from tests.stack import chat, row, rows, until


def shown(api: Api, batch_id: str) -> dict[str, object]:
    found: dict[str, object] = api.http.get(f"/v1/batches/{batch_id}").json()
    return found


def lines(api: Api, file_id: str) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in api.http.get(f"/v1/files/{file_id}/content").text.splitlines()]


def test_a_paused_batch_begins_nothing_and_goes_on_when_it_is_resumed(api: Api) -> None:
    batch_id = create(api, [row(str(n), chat(f"[[sleep:0.3]] {n}", model="thinker")) for n in range(200)])
    until(lambda: shown(api, batch_id)["request_counts"]["completed"] > 0, 10)  # type: ignore[index]
    paused = api.http.post(f"/v1/batches/{batch_id}/pause").json()
    assert (paused["status"], paused["rightsize"]["paused"]["reason"]) == ("in_progress", "requested")
    running = "SELECT count(*) FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE j.state = 2 AND b.public_id = :id"
    public_id = batch_id.removeprefix("batch_")
    until(lambda: api.stack.count(running, id=public_id) == 0, 15, "what was assigned already ends")
    before = shown(api, batch_id)["request_counts"]["completed"]  # type: ignore[index]
    time.sleep(1.0)
    assert shown(api, batch_id)["request_counts"]["completed"] == before < 200  # type: ignore[index]
    assert api.http.post(f"/v1/batches/{batch_id}/resume").json()["rightsize"]["paused"] is None
    going_on = until(lambda: (b := shown(api, batch_id)) and b["request_counts"]["completed"] > before and b, 15)  # type: ignore[index]
    assert going_on["rightsize"]["paused"] is None  # type: ignore[index]
    api.openai.batches.cancel(batch_id)
    ended(api, batch_id)
    assert api.http.post(f"/v1/batches/{batch_id}/pause").status_code == 409


def test_a_batch_that_comes_to_its_cap_pauses_says_so_and_goes_on_when_it_is_raised(api: Api) -> None:
    # The forecast fits; what is in flight may cost far more, so that few run at once, and the cap is never passed.
    body = chat("Hello", model="fast", max_tokens=100_000)
    cap = Decimal("0.25")
    batch_id = create(
        api, [row(str(n), body) for n in range(100)], extra_body={"rightsize": {"max_cost_usd": str(cap)}}
    )
    until(lambda: shown(api, batch_id)["status"] == "in_progress", 10)
    found = until(lambda: (b := shown(api, batch_id))["rightsize"]["paused"] and b, 15)  # type: ignore[index]
    assert found["rightsize"]["paused"]["reason"] == "budget_exhausted"  # type: ignore[index]
    assert Decimal(found["rightsize"]["cost_usd"]) <= cap  # type: ignore[index]
    api.post(f"/v1/batches/{batch_id}/resume", {"max_cost_usd": "100"})
    batch = ended(api, batch_id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 100)
    assert api.stack.doctor() == []


def test_failed_rows_run_again_one_tier_up_and_both_outputs_are_merged(api: Api) -> None:
    mixed = [
        *rows(5),
        row("bad-1", chat("[[fail:400]] a", model="fast")),
        row("bad-2", chat("[[fail:400]] b", model="fast")),
    ]
    first = ended(api, create(api, mixed, metadata={"team": "x"}))
    assert first.request_counts.failed == 2
    # On the tier above the rows are asked as they were: they fail there too, and say on which tier.
    made = api.post(f"/v1/batches/{first.id}/retry", {"only": "bad_request"}).json()
    assert (made["status"], made["rightsize"]["retry_of"], made["metadata"]) == ("validating", first.id, {"team": "x"})
    second = ended(api, made["id"])
    assert (second.request_counts.total, second.request_counts.failed) == (2, 2)
    assert {line["rightsize"]["tier"] for line in lines(api, second.error_file_id or "")} == {"rlm"}  # type: ignore[index]
    merged = shown(api, second.id)["rightsize"]["merged_output_file_id"]  # type: ignore[index]
    assert {line["custom_id"] for line in lines(api, merged)} == {f"row-{n}" for n in range(5)}


def test_a_second_run_that_succeeds_gives_every_custom_id_once(api: Api) -> None:
    mixed = [*rows(5), *(row(f"cut-{n}", chat(f"[[sleep:3]] {n}", model="thinker")) for n in range(3))]
    batch = create(api, mixed)
    until(lambda: shown(api, batch)["request_counts"]["completed"] == 5, 20)  # type: ignore[index]
    api.post(f"/v1/batches/{batch}/cancel", {})
    first = ended(api, batch)
    assert first.status == "cancelled"
    made = api.post(f"/v1/batches/{first.id}/retry", {"tier": "llm"}, headers={"Idempotency-Key": "again"}).json()
    assert (
        api.post(f"/v1/batches/{first.id}/retry", {"tier": "mllm"}, headers={"Idempotency-Key": "again"}).status_code
        == 409
    )
    second = ended(api, made["id"])
    assert (second.request_counts.completed, second.request_counts.failed) == (3, 0)
    merged = lines(api, shown(api, second.id)["rightsize"]["merged_output_file_id"])  # type: ignore[index,arg-type]
    names = [line["custom_id"] for line in merged]
    assert sorted(names) == sorted([*(f"row-{n}" for n in range(5)), *(f"cut-{n}" for n in range(3))])


def test_a_retry_that_the_official_client_sends_again_makes_no_second_batch(api: Api) -> None:
    first = ended(api, create(api, [row("bad", chat("[[fail:400]]", model="fast"))]))
    path, resent = f"/v1/batches/{first.id}/retry", {"x-stainless-retry-count": "1"}
    made = api.post(path, {}).json()["id"]
    assert api.post(path, {}, headers=resent).json()["id"] == made
    assert api.post(path, {}).json()["id"] != made, "a deliberate one is another batch"


def test_copies_of_failed_rows_are_bounded_so_that_others_are_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ended(api, create(api, [row("bad", chat("[[fail:400]]", model="fast"))]))
    monkeypatch.setattr(batches, "MOST_COPIERS_OF_TENANT", 0)
    response = api.post(f"/v1/batches/{first.id}/retry", {})
    assert (response.status_code, response.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize(
    "body, status",
    [({"tier": "huge"}, 400), ({"only": "no_such_code"}, 400), ({"tenant_id": 2}, 400), ({}, 400)],
    ids=str,
)
def test_a_retry_that_cannot_be_is_refused_with_a_remedy(api: Api, body: dict[str, object], status: int) -> None:
    good = ended(api, create(api, rows(1)))
    response = api.post(f"/v1/batches/{good.id}/retry", body)
    assert response.status_code == status
    assert len(response.json()["error"]["message"]) > 20


def test_a_running_batch_cannot_be_retried_and_an_unknown_one_is_not_found(api: Api) -> None:
    running = create(api, [row("slow", chat("[[sleep:3]]", model="thinker"))])
    assert api.http.post(f"/v1/batches/{running}/retry").status_code == 409
    for step in ("pause", "resume", "retry"):
        assert api.http.post(f"/v1/batches/batch_{'0' * 32}/{step}").status_code == 404
