"""A neighbour with far more work: whoever comes with little starts at once, is read at once, and is answered at once. A23."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson
import psycopg
import pytest

from orchestrator.client import Rightsize
from orchestrator.settings import Settings
from tests.api.test_batches import jsonl
from tests.attacks.conftest import with_settings
from tests.serving import Api
from tests.stack import Stack, chat, row, until

BACKLOG = 3_000
WITHIN_S = 3.0
"""The target is 2 s (`benchmarks/service/fair_share.py` measures it); here others use the same two cores."""


FLEET = """
[models.steady]
tier = "llm"
engine = "simulated"
default = true
slots = 32
expected_latency_s = 0.5
[models.steady.simulate]
latency_s = [0.5, 0.5]
[[models.steady.rates]]
request = "0.001"
"""


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    """One model that takes half a second for each job, as its fleet says: no dispatcher could know that of a model that says otherwise."""
    config = module_settings.data_dir / "steady.toml"
    config.write_text(FLEET)
    return with_settings(module_settings, config=config)


@pytest.fixture(scope="module")
def module_stack(module_settings: Settings) -> Iterator[Stack]:
    with Stack(module_settings) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker("llm")
        yield stack


@pytest.fixture(scope="module")
def crowd(api: Api, client: Rightsize) -> Iterator[str]:
    """Tenant A has a backlog that outlasts the test; the key is that of tenant B."""
    client.admin.create_tenant("small")
    key = client.admin.create_key("small", scopes=["submit", "read"], tenant="small")["key"]
    lines = [row(str(n), chat(f"Number {n}")) for n in range(BACKLOG)]
    file = api.openai.files.create(file=("a.jsonl", jsonl(lines)), purpose="batch").id
    batch = api.openai.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h").id
    running = "SELECT count(*) FROM jobs WHERE tenant_id = 1 AND state = 2"
    until(lambda: api.stack.count(running) >= 32, 30, "A fills every slot")
    yield key
    assert api.openai.batches.retrieve(batch).status == "in_progress", "the backlog did not last"
    api.openai.batches.cancel(batch)
    until(lambda: api.openai.batches.retrieve(batch).status == "cancelled", 60)
    assert api.stack.doctor() == []


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ended_within(api: Api, key: str, job: dict[str, Any], began: float) -> float:
    until(lambda: api.http.get(f"/v1/jobs/{job['id']}", headers=as_(key)).json()["state"] == "succeeded", 20)
    return time.monotonic() - began


@pytest.mark.parametrize("attempt", range(3))
def test_a23_one_job_beside_thousands_starts_within_the_bound(api: Api, crowd: str, attempt: int) -> None:
    began = time.monotonic()
    job = api.http.post("/v1/jobs", json={"body": chat("alone")}, headers=as_(crowd)).json()
    assert ended_within(api, crowd, job, began) < WITHIN_S


def test_a23_ten_projects_of_the_neighbour_are_one_neighbour(api: Api, client: Rightsize, crowd: str) -> None:
    """Shares go by tenant first: who splits up gets no more."""
    keys = []
    for number in range(10):
        client.admin.create_project(f"p{number}")
        keys.append(client.admin.create_key(f"p{number}", project=f"p{number}")["key"])
    for number, key in enumerate(keys):
        for one in range(10):
            body = {"body": chat(f"{number} {one}")}
            assert api.http.post("/v1/jobs", json=body, headers=as_(key)).status_code == 202
    began = time.monotonic()
    job = api.http.post("/v1/jobs", json={"body": chat("alone")}, headers=as_(crowd)).json()
    assert ended_within(api, crowd, job, began) < WITHIN_S


def test_a23_a_caller_who_waits_is_answered_beside_the_backlog(api: Api, crowd: str) -> None:
    took = []
    for number in range(5):
        began = time.monotonic()
        asked = api.http.post("/v1/chat/completions", json=chat(f"now {number}"), headers=as_(crowd))
        assert asked.status_code == 200
        took.append(time.monotonic() - began)
    assert sorted(took)[2] < WITHIN_S


def _in_status(api: Api, key: str, batch: str, status: str) -> dict[str, Any] | None:
    """The batch once it has reached a status."""
    shown: dict[str, Any] = api.http.get(f"/v1/batches/{batch}", headers=as_(key)).json()
    return shown if shown["status"] == status else None


def test_a23_two_tenants_are_read_at_the_same_time_and_no_row_is_lost(api: Api, crowd: str) -> None:
    content = jsonl([row(str(n), chat("x")) for n in range(8_000)])
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = []
    for key in (api.key, crowd):
        sent = {"data": {"purpose": "batch"}, "files": {"file": ("x", content)}}
        file = api.http.post("/v1/files", headers=as_(key), **sent).json()["id"]
        made.append(
            (key, api.http.post("/v1/batches", json={**body, "input_file_id": file}, headers=as_(key)).json()["id"])
        )
    reading = "SELECT count(DISTINCT tenant_id) FROM jobs j WHERE EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.status = 'validating')"
    until(lambda: api.stack.count(reading) == 2, 20, "both are being read")

    def shown(key: str, batch: str) -> dict[str, Any]:
        found: dict[str, Any] = api.http.get(f"/v1/batches/{batch}", headers=as_(key)).json()
        return found

    until(lambda: all(shown(*one)["status"] == "in_progress" for one in made), 60, "both are read")
    assert [shown(*one)["request_counts"]["total"] for one in made] == [8_000, 8_000]
    for key, batch in made:
        api.http.post(f"/v1/batches/{batch}/cancel", headers=as_(key))
    until(lambda: all(shown(*one)["status"] == "cancelled" for one in made), 60)


def test_a23_a_small_batch_is_read_while_a_large_one_of_another_tenant_is(api: Api, crowd: str) -> None:
    """A file of hundreds of thousands of rows takes a reader a minute: it once was the only one."""
    large = b"".join(orjson.dumps(row(str(n), chat("x"))) + b"\n" for n in range(30_000))
    many = [api.openai.files.create(file=("a.jsonl", large), purpose="batch").id for _ in range(2)]
    made = [
        api.openai.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h").id
        for file in many
        for _ in range(3)
    ]
    try:
        validating = "SELECT count(*) FROM batches WHERE status = 'validating' AND tenant_id = 1"
        until(
            lambda: (
                api.stack.count(
                    "SELECT count(*) FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE b.status = 'validating'"
                )
                > 0
            ),
            20,
            "one is being read",
        )
        small = api.http.post(
            "/v1/files",
            headers=as_(crowd),
            data={"purpose": "batch"},
            files={"file": ("b", jsonl([row("b", chat("x"))]))},
        ).json()["id"]
        began = time.monotonic()
        body = {"input_file_id": small, "endpoint": "/v1/chat/completions"}
        batch = api.http.post("/v1/batches", json=body, headers=as_(crowd)).json()["id"]
        until(lambda: api.http.get(f"/v1/batches/{batch}", headers=as_(crowd)).json()["status"] != "validating", 20)
        assert time.monotonic() - began < 3 * WITHIN_S
        assert api.stack.count(validating) >= 3, "the neighbour's were still waiting"
        held = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
        with psycopg.connect(api.stack.settings.require_database()) as connection:
            assert (connection.execute(held).fetchone() or (99,))[0] < 20
    finally:
        for one in made:
            api.openai.batches.cancel(one)
        until(lambda: all(api.openai.batches.retrieve(one).status == "cancelled" for one in made), 60)
