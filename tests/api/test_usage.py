"""Money reports that equal the ledger, prices in the open, and the progress of a batch as events."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx2
import orjson
import pytest

from orchestrator.api.app import create_app
from orchestrator.api.serving import READERS, WATCHERS
from orchestrator.errors import InvalidRequest, UnknownModel
from tests.api.test_batches import create, ended
from tests.serving import Api
from tests.stack import chat, row, rows, until


def test_usage_equals_the_ledger_by_every_key(api: Api) -> None:
    ended(
        api, create(api, [*rows(5), row("t", chat("x", rightsize={"task": "brief"})), row("bad", chat("[[fail:500]]"))])
    )
    charged = sum(r.amount_usd for r in api.stack.query("SELECT amount_usd FROM transfers WHERE kind = 'charge'"))
    house = sum(r.amount_usd for r in api.stack.query("SELECT amount_usd FROM transfers WHERE kind = 'cost' AND debit_account = 'cost:house'"))  # fmt: skip
    tokens = api.stack.query("SELECT sum(input_tokens) AS read, sum(output_tokens) AS written FROM attempts")[0]
    for by in ("tenant", "project", "key", "task", "tier", "model", "day", "batch", "tier,model,day"):
        found = api.http.get(f"/v1/usage?by={by}").json()
        total = found["total"]
        assert Decimal(total["charge_usd"]) == charged == sum(Decimal(one["charge_usd"]) for one in found["data"]), by
        assert Decimal(total["house_usd"]) == house, by
        assert (total["input_tokens"], total["output_tokens"]) == (tokens.read, tokens.written), by
        assert total["failed_attempts"] >= 3
        assert set(found["data"][0]) >= set(by.split(","))
    assert {one["task"] for one in api.http.get("/v1/usage?by=task").json()["data"]} >= {None, "brief"}


def test_usage_of_a_span_of_days_is_what_the_ledger_has_of_it(api: Api) -> None:
    assert api.http.get("/v1/usage?since=2020-01-01&until=2020-02-01").json()["total"]["jobs"] == 0
    assert api.http.get("/v1/usage?since=2020-01-01").json()["total"] == api.http.get("/v1/usage").json()["total"]


@pytest.mark.parametrize("query", ["by=nothing", "by=", "by=tier,model,day,task,key", "since=yesterday", "batch=x"])
def test_a_wrong_report_is_refused(api: Api, query: str) -> None:
    assert api.http.get(f"/v1/usage?{query}").status_code in (400, 404)


def test_prices_are_in_the_open_with_their_days(api: Api) -> None:
    found = {one["model"]: one for one in api.http.get("/v1/prices").json()["data"]}
    assert found["fast"]["prices"] == {"per M input": "1.00", "per M cached": "1.00", "per M output": "2.00", "per M reasoning": "2.00", "per request": "0.001"}  # fmt: skip
    assert found["fast"]["in_force"]


def events(
    api: Api, batch_id: str, last: str | None = None, most: int = 1000
) -> list[tuple[str, str, dict[str, object]]]:
    found: list[tuple[str, str, dict[str, object]]] = []
    headers = {"Last-Event-ID": last} if last else {}
    with api.http.stream("GET", f"/v1/batches/{batch_id}/events", headers=headers) as response:
        assert response.status_code == 200
        kind = name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("id: "):
                name = line[4:]
            elif line.startswith("data: "):
                found.append((kind, name, orjson.loads(line[6:])))
                if len(found) >= most:
                    break
    return found


def test_progress_is_told_until_the_end_and_goes_on_where_it_broke_off(api: Api) -> None:
    batch_id = create(api, [row(str(n), chat(f"[[sleep:0.2]] {n}", model="thinker")) for n in range(60)])
    first = events(api, batch_id, most=2)
    assert [kind for kind, _, _ in first] == ["progress", "progress"]
    rest = events(api, batch_id, last=first[-1][1])
    assert first[-1][1] not in [name for _, name, _ in rest]
    assert rest[-1][0] == "ended"
    last = rest[-1][2]
    assert (last["status"], last["request_counts"]) == ("completed", {"total": 60, "completed": 60, "failed": 0})
    done = [event["request_counts"]["completed"] for _, _, event in (*first, *rest)]  # type: ignore[index]
    assert done == sorted(done)
    assert set(last) == {"batch_id", "status", "request_counts", "tiers", "cost_usd", "left_s", "paused"}
    assert events(api, batch_id, last=rest[-1][1]) == []
    assert api.http.get(f"/v1/batches/batch_{'0' * 32}/events").status_code == 404


def test_a_job_can_be_waited_for(api: Api) -> None:
    job = api.client.submit_job(chat("[[sleep:0.5]] x", model="fast"))
    found = api.http.get(f"/v1/jobs/{job['id']}?wait_s=10").json()
    assert found["state"] == "succeeded"
    assert api.http.get(f"/v1/jobs/{job['id']}?wait_s=61").status_code == 400
    slow = api.client.submit_job(chat("[[sleep:30]]", model="thinker"))
    assert until(lambda: api.http.get(f"/v1/jobs/{slow['id']}?wait_s=0.2").json(), 5)["ended_at"] is None
    api.client.cancel_job(slow["id"])


def test_a_job_that_is_sent_again_is_told_although_it_would_be_refused_by_now(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, key = {"body": chat("Hello", model="fast")}, {"Idempotency-Key": "order-1"}
    made = api.post("/v1/jobs", body, headers=key)
    assert made.status_code == 202

    def gone(*_: object, **__: object) -> None:
        raise UnknownModel("fast", ["thinker"])

    def small(*_: object, **__: object) -> None:
        raise InvalidRequest("No minute has room for it.")

    for where, planted in (("orchestrator.flow.submit.prepare", gone), ("orchestrator.flow.quotas.take", small)):
        with monkeypatch.context() as planting:
            planting.setattr(where, planted)
            again = api.post("/v1/jobs", body, headers=key)
            assert (again.status_code, again.json()["id"]) == (202, made.json()["id"])
            other = api.post("/v1/jobs", {"body": chat("Bye", model="fast")}, headers=key)
            new = api.post("/v1/jobs", body, headers={"Idempotency-Key": "order-2"})
            assert {other.status_code, new.status_code} <= {400, 404}


def test_those_who_wait_for_a_job_are_bounded_and_leave_the_readers_to_others(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.jobs.MOST_OF_TENANT", 30)
    with api.client as client:
        slow, done = (client.submit_job(chat(text, model="thinker")) for text in ("[[sleep:30]]", "x"))
    assert api.http.get(f"/v1/jobs/{done['id']}?wait_s=20").json()["state"] == "succeeded"
    place, began = f"/v1/jobs/{slow['id']}?wait_s=9", time.monotonic()
    with ThreadPoolExecutor(40) as threads:
        waiting = [
            threads.submit(httpx2.get, api.url + place, headers=dict(api.http.headers), timeout=30) for _ in range(40)
        ]
        until(lambda: sum(one.done() for one in waiting) == 10, 10, "those above the bound are answered")
        assert time.monotonic() - began < 9
        assert api.http.get(f"/v1/jobs/{done['id']}?wait_s=20").status_code == 200, "what has ended needs no place"
        assert api.http.get(f"/v1/jobs/{slow['id']}").status_code == 200
        told = [one.result() for one in waiting]
    assert sorted(one.status_code for one in told) == [200] * 30 + [429] * 10
    refused = next(one for one in told if one.status_code == 429)
    assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("backpressure", "5")
    assert api.http.get(f"{place[:-1]}0.1").status_code == 200, "the places are free again"
    assert api.http.post(f"/v1/jobs/{slow['id']}/cancel").status_code == 200


def test_looks_of_those_who_wait_never_take_all_readers(api: Api) -> None:
    serving = create_app(api.stack.context).state.serving
    held, at_once, most = threading.Event(), 0, 0
    counting = threading.Lock()

    def look() -> None:
        nonlocal at_once, most
        with counting:
            at_once += 1
            most = max(most, at_once)
        held.wait(20)
        with counting:
            at_once -= 1

    async def run() -> str:
        looks = [asyncio.create_task(serving.watch(look)) for _ in range(3 * READERS)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(10):
                return await serving.read(lambda: "read")
        finally:
            held.set()
            await asyncio.gather(*looks)

    assert asyncio.run(run()) == "read"
    assert most == WATCHERS < READERS
