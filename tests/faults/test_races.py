"""Cancels and messages that race with everything else: one end a job, settled or given back, never both."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator.contracts import JobState
from orchestrator.errors import Conflict
from orchestrator.flow import cancel
from tests.stack import OWNER, Stack, chat, rows, until

SINGLE = """
from orchestrator.settings import Settings
from orchestrator.flow.context import open_context
from orchestrator.flow.submit import submit_job
from orchestrator.contracts import Owner
context = open_context(Settings.load(), "orchestrator")
submit_job(context, Owner(1, 1, 1), "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]},
           interactive=True, within_s=60.0)
"""
CANCELLED, SUCCEEDED = JobState.CANCELLED, JobState.SUCCEEDED


def stands(pid: int) -> bool:
    """Whether a process stands at its crash point."""
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "T"


def test_f15_a_message_delivered_to_two_workers_in_parallel_and_again_afterwards_runs_once(stack: Stack) -> None:
    stack.worker()
    stack.worker()
    done = [stack.submit_now(chat(f"[[sleep:0.3]] Hello {number}")) for number in range(3)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: stack.broker.publish("rightsize.llm.now", done[n % 3].dispatch_id), range(300)))
    for job in done:
        stack.wait_job(job.public_id)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: stack.broker.publish("rightsize.llm.now", done[n % 3].dispatch_id), range(300)))
    # A message that is taken is answered at once: the one that is sent last has none before it.
    last = stack.submit_now(chat("Goodbye"))
    stack.wait_job(last.public_id)
    until(lambda: stack.broker.redis.llen("rightsize.llm.now") == 0)
    assert stack.count("SELECT count(*) FROM attempts") == 4
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 4
    stack.must_hold()


def test_f16_a_message_that_comes_before_its_commit_runs_nothing_and_loses_nothing(stack: Stack) -> None:
    worker = stack.worker()
    writing = stack.start(SINGLE, "api", crash_at="submit.before_commit:stop")
    until(lambda: stands(writing.pid), what="the job is written and not committed")
    with psycopg.connect(stack.settings.require_database()) as owner:
        upcoming = owner.execute("SELECT last_value FROM dispatches_id_seq").fetchone()
    assert upcoming is not None
    stack.broker.publish("rightsize.llm.now", upcoming[0])
    until(lambda: stack.broker.redis.llen("rightsize.llm.now") == 0, what="the early message is taken")
    assert stack.count("SELECT count(*) FROM attempts") == 0
    writing.send_signal(signal.SIGCONT)
    assert writing.wait(30) == 0
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 10") == 1)
    assert stack.count("SELECT count(*) FROM attempts") == 1
    assert worker.poll() is None
    stack.must_hold()


def test_f29_cancels_that_race_with_claim_and_finish_end_every_job_once(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    stack.worker()
    made = [stack.submit_now(chat(f"[[sleep:0.{number % 5}]] Hello {number}")) for number in range(120)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda job: cancel.cancel_job(stack.context, OWNER, job.public_id), made))
    ends = [stack.wait_job(job.public_id) for job in made]
    assert {JobState(one.state) for one in ends} <= {SUCCEEDED, CANCELLED}
    before = stack.query("SELECT id, state, ended_at FROM jobs ORDER BY id")
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0)
    assert stack.query("SELECT id, state, ended_at FROM jobs ORDER BY id") == before, "what has ended never changes"
    assert stack.count("SELECT held_usd = 0 FROM budgets") == 1
    stack.must_hold()


@pytest.mark.parametrize(
    "point", ["claim.before", "claim.after_commit", "execute.after_perform", "record.before_commit"]
)
def test_f29_a_cancel_at_each_edge_of_a_worker_settles_or_gives_back(stack: Stack, point: str) -> None:
    worker = stack.worker(crash_at=f"{point}:stop")
    job = stack.submit_now(chat("Hello"))
    until(lambda: stands(worker.pid), what=f"{point} is reached")
    with ThreadPoolExecutor(1) as pool:
        # At `record.before_commit` the cancel waits for the worker's row lock: the worker goes on first.
        cancelling = pool.submit(cancel.cancel_job, stack.context, OWNER, job.public_id)
        if point == "record.before_commit":
            until(lambda: stack.count("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, what="the cancel waits")
        else:
            cancelling.result(20)
        worker.send_signal(signal.SIGCONT)
        cancelling.result(20)
    won = point == "record.before_commit"
    assert stack.wait_job(job.public_id).state == (SUCCEEDED if won else CANCELLED)
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0)
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == int(won)
    stack.must_hold()


def test_f29_a_cancel_in_the_middle_of_a_recovery_pass_ends_the_job_once(stack: Stack) -> None:
    doomed = stack.worker(crash_at="execute.before_perform:kill")
    job = stack.submit_now(chat("Hello"))
    assert doomed.wait(30) == -signal.SIGKILL
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE lease_until < now() AND ended_at IS NULL") == 1)
    reaper = stack.orchestrator(crash_at="recover.before_commit:stop")
    until(lambda: stands(reaper.pid), what="the pass is written and not committed")
    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(cancel.cancel_job, stack.context, OWNER, job.public_id)
        until(lambda: stack.count("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, what="the cancel waits")
        reaper.send_signal(signal.SIGCONT)
        cancelling.result(20)
    stack.worker()
    ended = stack.wait_job(job.public_id)
    assert (ended.state, ended.attempts) == (CANCELLED, 1)
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 0
    stack.must_hold()


def test_f29_a_batch_cancelled_while_it_is_finished_has_one_end(stack: Stack) -> None:
    stack.worker()
    batch = stack.submit(rows(30))
    finisher = stack.orchestrator(crash_at="finish.after_files:stop")
    until(lambda: stands(finisher.pid), what="the files are written and the batch has not ended")
    with suppress(Conflict):
        cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
    finisher.send_signal(signal.SIGCONT)
    ended = stack.wait(batch)
    assert (ended.status, ended.final["completed"]) in (("completed", 30), ("cancelled", 30))
    assert stack.count("SELECT count(*) FROM files WHERE purpose = 'batch_output'") == 1
    stack.must_hold(batch, 30)
