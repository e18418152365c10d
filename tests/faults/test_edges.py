"""What the kills at the edges must show besides that nothing is lost: bounds of time, no half-made files, the real API."""

from __future__ import annotations

import signal
import socket
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.nursery import Started
from tests.serving import make_key
from tests.stack import Stack, chat, rows, until

API = "from orchestrator.api import server; from orchestrator.settings import Settings; server.run(Settings.load(), '127.0.0.1', {port})"
FILES = "SELECT count(*) FROM files WHERE purpose = 'batch_output'"


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def more_attempts(stack: Stack, than: int) -> bool:
    """Whether more attempts have ended."""
    return stack.count("SELECT count(*) FROM attempts") > than


def serve(stack: Stack, port: int, *, crash_at: str | None = None) -> Started:
    """Start the API as a process of its own, and wait until it answers."""
    process = stack.start(API.format(port=port), "api", crash_at=crash_at)

    def answers() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx2.TransportError:
            assert process.poll() is None
            return False

    until(answers, what="the API is up")
    return process


@pytest.mark.parametrize("point", ["submit.before_commit", "submit.after_commit"])
def test_f1_an_api_killed_at_the_commit_gives_one_job_for_the_key_when_asked_again(
    stack: Stack, free_port: int, point: str
) -> None:
    headers = {"Authorization": f"Bearer {make_key(stack.settings)}", "Idempotency-Key": "once"}
    url, body = f"http://127.0.0.1:{free_port}/v1/chat/completions", chat("Hello")
    doomed = serve(stack, free_port, crash_at=f"{point}:kill")
    with pytest.raises(httpx2.TransportError):
        httpx2.post(url, json=body, headers=headers)
    assert doomed.wait(10) == -signal.SIGKILL
    serve(stack, free_port)
    stack.orchestrator()
    stack.worker()
    answers: list[Any] = [httpx2.post(url, json=body, headers=headers, timeout=30) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert httpx2.post(url, json=chat("Something else"), headers=headers).status_code in (409, 422)
    assert stack.count("SELECT count(*) FROM jobs") == 1
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 1
    stack.must_hold()


def test_f3_work_of_a_dead_worker_is_queued_again_within_its_lease_and_a_recovery_pass(stack: Stack) -> None:
    stack.orchestrator()
    doomed = stack.worker(crash_at="execute.before_perform:kill")
    batch = stack.submit(rows(100))
    assert doomed.wait(30) == -signal.SIGKILL
    stack.worker()
    assert stack.wait(batch).final["completed"] == 100
    late = "SELECT max(extract(epoch FROM ended_at - lease_until)) FROM dispatches WHERE ending = 'lost'"
    seconds = float(stack.query(late)[0][0])
    assert seconds < stack.settings.recover_every_s + 3, "one pass, and room for a busy machine"
    stack.must_hold(batch, 100)


def test_f5_files_of_a_finisher_that_was_killed_are_not_served(stack: Stack) -> None:
    stack.worker()
    batch = stack.submit(rows(50))
    doomed = stack.orchestrator(crash_at="finish.after_files:kill")
    assert doomed.wait(30) == -signal.SIGKILL
    left = stack.query("SELECT status, output_file_id, error_file_id FROM batches")[0]
    assert tuple(left) == ("finalizing", None, None)
    assert stack.count(FILES) == 0
    stack.orchestrator()
    assert stack.wait(batch).final["completed"] == 50
    assert stack.count(FILES) == 1
    written = [path for path in stack.settings.blobs.rglob("*") if path.is_file() and "batches" in path.parts]
    assert len(written) == 1, "no orphan is left beside the file"
    stack.must_hold(batch, 50)


@pytest.mark.parametrize("point", ["execute.after_perform", "record.before_commit"])
def test_f6_a_worker_that_sleeps_past_its_lease_holds_nothing_up_and_charges_nothing_twice(
    stack: Stack, point: str
) -> None:
    stack.orchestrator()
    zombie = stack.worker(crash_at=f"{point}:stop")
    batch = stack.submit(rows(60))
    until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "T", what="the worker is stopped")
    stack.worker()
    lost = "SELECT count(*) FROM dispatches WHERE ending = 'lost'"
    until(lambda: stack.count(lost) > 0, 3 * stack.settings.lease_s + 5, "its lease is lost")
    zombie.send_signal(signal.SIGCONT)
    assert stack.wait(batch).final["completed"] == 60
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 60
    stack.must_hold(batch, 60)


def test_f8_all_workers_killed_at_once_again_and_again_lose_and_double_nothing(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(600, "[[sleep:0.05]] Where is my order?"))
    for _ in range(4):
        done = stack.count("SELECT count(*) FROM attempts")
        workers = [stack.worker(ready=False), stack.worker(ready=False)]
        until(partial(more_attempts, stack, done), what="work goes on after the last kill")
        for one in workers:
            one.send_signal(signal.SIGKILL)
        for one in workers:
            one.wait(10)
    assert stack.batch(batch).status == "in_progress", "the work must outlast the kills"
    stack.worker()
    assert stack.wait(batch, 90).final["completed"] == 600
    stack.must_hold(batch, 600)
