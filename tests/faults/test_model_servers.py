"""F26 to F28 along the whole path: real servers that misbehave, worker, retries, holds and charges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from tests.stack import Stack, chat, row, until
from tests.workers.engines.openai_server import OpenAIServer, in_thread

RETRIED = {
    "status-429": "rate_limited", "status-408": "upstream_timeout", "status-500": "server_error", "status-502": "server_error",
    "reset": "connection_lost", "hang": "timeout", "drip-100": "timeout", "body-garbage": "bad_json", "badgzip": "bad_encoding",
    "changed-twice": "bad_choices", "changed-none": "bad_choices", "changed-error": "server_error", "usage-negative": "bad_usage",
    "usage-huge": "bad_usage", "usage-nan": "bad_usage", "refused": "connection_failed", "tls": "connection_failed",
}  # fmt: skip
"""Behaviour of the server -> the code of the last failure. Each spends all its attempts."""
FINAL = {"status-400": "bad_request", "changed-model": "wrong_model", "changed-invalid": "bad_request"}
"""What no other attempt could mend: one attempt."""
CHARGED = ("good", "no_usage", "flaky-1")
OTHERS = ("status-429-after-1", "bomb")
HEAD = """
[policy]
default_tier = "llm"
max_attempts = 2
retry_base_s = 0.05
retry_max_s = 0.1
"""
MODEL = """
[models.{name}]
tier = "llm"
engine = "openai"
address = "{address}"
slots = 4
connect_timeout_s = 1.0
first_byte_timeout_s = 0.5
timeout_s = 1.5
[[models.{name}.rates]]
input = "1.00"
output = "2.00"
request = "0.001"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    """A server that speaks OpenAI's protocol, on a thread of its own."""
    with in_thread() as running:
        yield running


@pytest.fixture
def stack(settings: Settings, server: OpenAIServer, tmp_path: Path) -> Iterator[Stack]:
    """Orchestrator and worker on a fleet with one model for each way to behave."""
    fleet = tmp_path / "fleet.toml"
    addresses = {name: server.address(name) for name in (*RETRIED, *FINAL, *CHARGED, *OTHERS)}
    addresses["refused"] = "http://127.0.0.1:9/v1"
    addresses["tls"] = server.address().replace("http://", "https://")
    fleet.write_text(
        HEAD + "".join(MODEL.format(name=name, address=address) for name, address in addresses.items()), "utf-8"
    )
    with Stack(settings.model_copy(update={"config": fleet})) as made:
        made.broker.redis.flushdb()
        made.orchestrator()
        made.worker()
        yield made


def test_f26_f27_f28_each_way_to_fail_spends_its_attempts_and_only_answers_are_charged(stack: Stack) -> None:
    batch = stack.submit([row(name, {**chat("Hello"), "model": name}) for name in (*RETRIED, *FINAL, *CHARGED)])
    final = stack.wait(batch).final
    assert (final["completed"], final["failed"]) == (3, len(RETRIED) + len(FINAL))
    jobs = {
        one.custom_id: one for one in stack.query("SELECT custom_id, state, attempts, fault_code, held_usd FROM jobs")
    }
    assert {name: jobs[name].fault_code for name in (*RETRIED, *FINAL)} == {**RETRIED, **FINAL}
    assert {name: jobs[name].attempts for name in jobs} == {
        **dict.fromkeys(RETRIED, 2), **dict.fromkeys(FINAL, 1), "good": 1, "no_usage": 1, "flaky-1": 2,
    }  # fmt: skip
    assert all(one.held_usd == 0 for one in jobs.values())
    charged = stack.query(
        "SELECT j.custom_id FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE t.kind = 'charge' ORDER BY 1"
    )
    assert [one.custom_id for one in charged] == ["flaky-1", "good", "no_usage"]
    assert all(line["error"]["message"] for line in stack.lines(batch) if line["error"])
    stack.must_hold(batch, len(jobs))


def test_f26_retry_after_is_waited_for_with_the_hold_kept_and_then_given_back(stack: Stack) -> None:
    batch = stack.submit([row("limited", {**chat("Hello"), "model": "status-429-after-1"})])
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 3") == 1, what="the job waits")
    held = "SELECT count(*) FROM jobs j JOIN budgets b ON b.held_usd = j.held_usd WHERE j.held_usd > 0"
    assert stack.count(held) == 1
    assert stack.wait(batch).final["failed"] == 1
    waited = "SELECT count(*) FROM attempts HAVING max(created_at) - min(created_at) >= interval '1 second'"
    assert stack.count(waited) == 2
    assert stack.count("SELECT held_usd = 0 AND spent_usd = 0 FROM budgets") == 1
    stack.must_hold(batch, 1)


def test_f27_a_server_that_drips_past_the_deadline_expires_the_job_and_frees_the_slot(stack: Stack) -> None:
    batch = stack.submit([row(f"drips-{n}", {**chat("Hello"), "model": "drip-100"}) for n in range(12)], window="3s")
    ended = stack.wait(batch, 20)
    assert set(ended.final["states"]) <= {"expired", "failed"}
    assert stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0
    again = stack.submit([row("good", {**chat("Hello"), "model": "good"})])
    assert stack.wait(again).final["completed"] == 1
    stack.must_hold(batch, 12)


def test_f28_a_gzip_bomb_fails_its_job_and_the_worker_goes_on(stack: Stack) -> None:
    batch = stack.submit(
        [row("bomb", {**chat("Hello"), "model": "bomb"}), row("good", {**chat("Hello"), "model": "good"})]
    )
    final = stack.wait(batch).final
    assert (final["completed"], final["failed"]) == (1, 1)
    assert stack.processes[-1].poll() is None, "the worker that met it still runs"
    stack.must_hold(batch, 2)
