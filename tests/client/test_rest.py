"""Single jobs, reports, prices, and webhooks: both clients say the same."""

from __future__ import annotations

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import errors
from orchestrator.client import AsyncRightsize, Rightsize
from tests.client.cutting import cutting
from tests.serving import Api
from tests.stack import chat, until


def test_a_job_is_waited_for_until_it_ends_or_the_time_is_up(client: Rightsize) -> None:
    made = client.submit_job(chat("[[sleep:1]] x", model="fast"), deadline="10m", key="job-1")
    assert client.submit_job(chat("[[sleep:1]] x", model="fast"), deadline="10m", key="job-1")["id"] == made["id"]
    began = time.monotonic()
    job = client.wait_job(made["id"])
    assert 0.5 < time.monotonic() - began < 10
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert client.job(made["id"], wait_s=60)["id"] == made["id"]
    slow = client.submit_job(chat("[[sleep:60]]", model="thinker"))
    assert client.wait_job(slow["id"], within_s=0.3)["ended_at"] is None
    assert client.cancel_job(slow["id"])["state"] == "cancelled"
    with pytest.raises(errors.InvalidRequest, match="`deadline` must be a number and a unit"):
        client.submit_job(chat("Hello"), deadline="soon")
    with pytest.raises(errors.NotFound):
        client.wait_job(f"job_{'0' * 32}")


def test_a_failed_job_that_is_waited_for_raises_nothing(client: Rightsize) -> None:
    job = client.wait_job(client.submit_job(chat("[[fail:400]]"))["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "bad_request")


def test_a_service_that_goes_away_while_a_job_is_waited_for_is_waited_for(api: Api) -> None:
    with cutting(api.url) as cutter, Rightsize(cutter.url, api.key) as client:
        made = client.submit_job(chat("[[sleep:2]] x", model="fast"))
        cutter.cut("GET /v1/jobs", times=8, answer_bytes=10)
        assert client.wait_job(made["id"])["state"] == "succeeded"
        assert cutter.cuts == 8


def test_reports_and_prices_are_told_by_both_clients(api: Api, client: Rightsize) -> None:
    client.complete(chat("Hello", rightsize={"task": "brief"}))
    today = datetime.now(UTC).date()
    found = client.usage(["tier", "task"], since=today)
    assert found["by"] == ["tier", "task"]
    assert {row["task"] for row in found["data"]} >= {"brief"}
    assert sum(Decimal(row["charge_usd"]) for row in found["data"]) == Decimal(found["total"]["charge_usd"]) > 0
    assert client.usage("day", until=today)["total"]["jobs"] == 0
    assert client.usage(since=str(today + timedelta(days=1)))["data"] == []
    with pytest.raises(errors.InvalidRequest, match="`by` must be"):
        client.usage("nothing")
    prices = {one["model"]: one for one in client.prices()}
    assert prices["fast"]["in_force"]
    assert Decimal(prices["fast"]["prices"]["per M output"]) == 2
    assert client.explain(chat("Hello"))["route"]["rule"] == "default"
    assert client.models()[0]["id"] == "auto"
    assert client.machines() == []
    assert client.ready()["status"] == "ok"

    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as other:
            assert await other.usage(["tier", "task"], since=today) == client.usage(["tier", "task"], since=today)
            assert await other.prices() == client.prices()
            assert await other.cost() == client.cost()
            assert await other.machines() == []
            assert [one["id"] for one in await other.models()] == [one["id"] for one in client.models()]
            assert (await other.explain(chat("Hello")))["route"]["rule"] == "default"
            assert (await other.ready())["status"] == "ok"
            made = await other.submit_job(chat("[[sleep:0.5]] x", model="fast"))
            assert (await other.wait_job(made["id"]))["state"] == "succeeded"
            assert (await other.job(made["id"]))["id"] == made["id"]
            slow = await other.submit_job(chat("[[sleep:60]]", model="thinker"))
            assert (await other.wait_job(slow["id"], within_s=0.2))["ended_at"] is None
            assert (await other.cancel_job(slow["id"]))["state"] == "cancelled"

    asyncio.run(run())


def test_who_finds_no_place_to_wait_is_patient_for_as_long_as_the_service_answers(
    api: Api, client: Rightsize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that says it is full is not away: the patience with one that is away is not for it."""
    monkeypatch.setattr("orchestrator.client.link.AWAY_AT_MOST_S", 0.5)
    monkeypatch.setattr("orchestrator.client.link.TRIES", 1)
    full = {"orchestrator.api.jobs.MOST_OF_TENANT": 0, "orchestrator.api.jobs.FULL_RETRY_S": 1.0}
    for name, value in full.items():
        monkeypatch.setattr(name, value)
    made = client.submit_job(chat("[[sleep:4]] x", model="thinker"))
    asked = []
    planted = client.job

    def counted(*given: Any, **named: Any) -> Any:
        asked.append(given)
        return planted(*given, **named)

    monkeypatch.setattr(client, "job", counted)
    assert client.wait_job(made["id"])["state"] == "succeeded"
    assert len(asked) > 3


@dataclass
class Receiver:
    """A real HTTP server on the loopback that keeps what it is told."""

    url: str = ""
    got: list[bytes] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kept.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def test_webhooks_are_managed_tested_and_replayed(client: Rightsize, receiver: Receiver) -> None:
    hooks = client.webhooks
    assert "batch.completed" in hooks.event_types()
    made = hooks.create(receiver.url, ["batch.completed"], name="mine")
    assert made["signing_secret"]
    assert made["id"] in [one["id"] for one in hooks.list()]
    assert hooks.test(made["id"])["success"] is True
    assert len(receiver.got) == 1
    client.submit(["Hello"]).wait()
    until(lambda: len(receiver.got) == 2, 15, "the end of the batch is told")
    delivery = until(
        lambda: next((d for d in hooks.deliveries(endpoint=made["id"]) if d["state"] == "delivered"), None), 10
    )
    hooks.replay(delivery["id"])
    until(lambda: len(receiver.got) == 3, 15, "it is told once more")
    assert hooks.change(made["id"], name="yours", events=["batch.failed"])["event_types"] == ["batch.failed"]
    assert hooks.show(made["id"])["name"] == "yours"
    assert hooks.rotate_secret(made["id"])["signing_secret"] != made["signing_secret"]
    assert list(hooks.deliveries(dead=True)) == []
    assert hooks.delete(made["id"])["deleted"] is True
    with pytest.raises(errors.NotFound):
        hooks.show(made["id"])


def test_webhooks_are_managed_by_asynchronous_code_too(api: Api, receiver: Receiver) -> None:
    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            hooks = client.webhooks
            assert "batch.completed" in await hooks.event_types()
            made = await hooks.create(receiver.url, ["batch.completed"], name="mine")
            assert made["id"] in [one["id"] async for one in hooks.list()]
            assert (await hooks.test(made["id"]))["success"] is True
            (sent,) = [one async for one in hooks.deliveries(endpoint=made["id"])]
            await hooks.replay(sent["id"])
            assert (await hooks.change(made["id"], name="yours"))["name"] == "yours"
            assert (await hooks.show(made["id"]))["name"] == "yours"
            assert (await hooks.rotate_secret(made["id"]))["signing_secret"]
            assert (await hooks.delete(made["id"]))["deleted"] is True

    asyncio.run(run())
