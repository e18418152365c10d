"""Interactive work in groups, at the API and at the worker: garbage, kills in the midst, and stops in order."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
from sqlalchemy import text

from orchestrator.envelope import sealed
from tests.faults.test_edges import free_port, serve
from tests.serving import make_key
from tests.stack import Stack, chat, until

__all__ = ["free_port"]
QUEUE = "rightsize.llm.now"
ENDED = "SELECT count(*) FROM jobs WHERE state >= 10"
CHARGES = "SELECT count(*) FROM transfers WHERE kind = 'charge'"
TAKEN = "SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL"
RUNNING = f"{TAKEN} AND ended_at IS NULL"


def test_an_api_killed_between_a_groups_commit_and_its_answers_gives_one_job_for_each_key(
    stack: Stack, free_port: int
) -> None:
    key = make_key(stack.settings)
    url = f"http://127.0.0.1:{free_port}/v1/chat/completions"

    def post(number: int) -> int:
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"key-{number}"}
        try:
            return httpx2.post(url, json=chat(f"Hello {number}"), headers=headers, timeout=30).status_code
        except httpx2.TransportError:
            return 0

    doomed = serve(stack, free_port, crash_at="submit.after_commit:kill@2")
    with ThreadPoolExecutor(12) as pool:
        # While the budget is locked one group waits for it, and what comes meanwhile is the second group.
        with stack.context.database.unit_of_work() as session:
            session.execute(text("SELECT FROM budgets FOR UPDATE"))
            posted = [pool.submit(post, number) for number in range(12)]
            time.sleep(1.5)
        assert {one.result() for one in posted} == {0}
        assert doomed.wait(10) == -signal.SIGKILL
        assert stack.count("SELECT count(*) FROM jobs") > 3, "a group of several was committed"
        serve(stack, free_port)
        stack.orchestrator()
        stack.worker()
        assert list(pool.map(post, range(12))) == [200] * 12
    assert stack.count("SELECT count(*) FROM jobs") == stack.count(CHARGES) == 12
    stack.must_hold()


def test_garbage_in_an_interactive_queue_is_dropped_and_what_stands_behind_it_runs(stack: Stack) -> None:
    for raw in (b"", b"\xff", b"{}", b"null", sealed(QUEUE, -1), sealed(QUEUE, 10**9), b"[" * 50_000):
        stack.broker.redis.lpush(QUEUE, raw)
    job = stack.submit_now(chat("Hello"))
    worker = stack.worker()
    assert stack.wait_job(job.public_id).state == 10
    until(lambda: stack.broker.redis.llen(QUEUE) == 0)
    assert "message_dropped" in stack.logs[worker.pid].read_text()
    stack.must_hold()


def test_suspects_that_come_by_the_interactive_queue_run_one_after_the_other(stack: Stack) -> None:
    jobs = [stack.submit_now(chat(f"[[sleep:0.3]] {number}")) for number in range(3)]
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE dispatches SET alone = true, one_by_one = true"))
    stack.worker()
    until(lambda: stack.count(RUNNING) == 1)
    assert stack.count(RUNNING) <= 1
    assert {stack.wait_job(one.public_id).state for one in jobs} == {10}
    stack.must_hold()


def test_a_worker_killed_in_the_midst_of_interactive_jobs_loses_and_doubles_nothing(stack: Stack) -> None:
    stack.orchestrator()
    doomed = stack.worker()
    for number in range(40):
        stack.submit_now(chat(f"[[sleep:0.4]] {number}"), within_s=300.0)
    until(lambda: stack.count(RUNNING) > 2)
    stack.kill(doomed)
    stack.worker()
    # What was lost with it is under suspicion, and runs one after the other.
    until(lambda: stack.count(f"{ENDED} AND state = 10") == 40, 120.0)
    assert stack.count(CHARGES) == 40
    stack.must_hold()


def test_a_worker_that_stops_finishes_what_runs_and_gives_back_what_takes_too_long(stack: Stack) -> None:
    stack.orchestrator()
    first = stack.worker()
    quick = [stack.submit_now(chat(f"[[sleep:0.8]] {number}")) for number in range(20)]
    slow = [stack.submit_now(chat(f"[[sleep:20]] {number}")) for number in range(5)]
    # On a busy machine the first of the quick ones have ended before the last is taken.
    until(lambda: stack.count(TAKEN) == 25)
    first.send_signal(signal.SIGTERM)
    assert first.wait(stack.settings.stop_within_s + 15) == 0
    assert {stack.job(one.public_id).state for one in quick} == {10}
    assert {stack.job(one.public_id).attempts for one in slow} == {0}
    assert stack.count(RUNNING) == 0, "nothing waits for the end of a lease"
    stack.worker()
    assert {stack.wait_job(one.public_id).state for one in slow} == {10}
    assert stack.count("SELECT count(*) FROM dispatches WHERE ending = 'lost'") == 0
    stack.must_hold()


def test_a_worker_of_the_interactive_queue_alone_leaves_bulk_work_to_others(stack: Stack) -> None:
    stack.orchestrator()
    code = f"from workers.app import app; app.worker_main(['worker', '-Q', {QUEUE!r}, '--loglevel', 'WARNING'])"
    stack.start(code, "now-worker")
    job = stack.submit_now(chat("Hello"))
    assert stack.wait_job(job.public_id).state == 10
