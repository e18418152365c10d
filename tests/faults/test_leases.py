"""What a lease protects: work that runs, work that waits to be recorded, and nothing that is somebody else's."""

from __future__ import annotations

import os
import signal
import time

import psycopg
import pytest

from orchestrator.flow import cancel
from orchestrator.settings import Settings
from tests.stack import OWNER, Stack, chat, row, rows, until

CLAIMED = "SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL"
IN_HAND = "SELECT coalesce(sum(size), 0) FROM dispatches WHERE claimed_at IS NOT NULL"


def endings(stack: Stack) -> set[str]:
    """How the dispatches have ended."""
    return {one.ending for one in stack.query("SELECT DISTINCT ending FROM dispatches WHERE ended_at IS NOT NULL")}


def test_a_claim_that_a_crash_of_the_server_forgot_is_made_again_and_cancels_nothing(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit(rows(5, "[[sleep:2]] Think."))
    until(lambda: stack.count(CLAIMED) > 0)
    forget = "UPDATE dispatches SET worker_id = NULL, claimed_at = NULL, lease_until = NULL WHERE ended_at IS NULL RETURNING id"
    assert stack.query(forget)
    assert stack.wait(batch).final["completed"] == 5
    assert stack.count("SELECT count(*) FROM attempts WHERE outcome <> 'succeeded'") == 0
    stack.must_hold(batch, 5)


def test_what_a_stopping_worker_could_not_record_runs_again(stack: Stack) -> None:
    stack.orchestrator()
    worker = stack.worker(crash_at="record.before_commit:sleep:8")
    batch = stack.submit([row("short", chat("[[sleep:0.3]] One")), row("long", chat("[[sleep:30]] Two"))])
    until(lambda: stack.count(CLAIMED) > 0)
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    stack.query(
        "UPDATE job_requests SET body = replace(convert_from(body, 'UTF8'), 'sleep:30', 'sleep:0')::bytea RETURNING job_id"
    )
    stack.worker()
    assert stack.wait(batch).final["completed"] == 2
    stack.must_hold(batch, 2)


def test_a_dispatch_that_waits_to_be_recorded_keeps_its_lease(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit(rows(40, "[[sleep:0.1]] Think."))
    until(lambda: stack.count(CLAIMED) > 0)
    with psycopg.connect(stack.settings.require_database()) as holder:
        holder.execute("SELECT * FROM budgets FOR UPDATE")
        time.sleep(2 * stack.settings.lease_s)  # the lock's length, not a wait for something
    assert stack.wait(batch).final["completed"] == 40
    assert endings(stack) == {"done"}
    assert stack.count("SELECT count(*) FROM attempts WHERE outcome <> 'succeeded'") == 0


def test_two_readers_of_one_batch_put_no_row_in_twice(stack: Stack) -> None:
    stack.orchestrator(crash_at="read.between_chunks:sleep:3")
    batch = stack.submit(rows(6000))
    until(lambda: stack.count("SELECT count(*) FROM jobs") == 2000)
    # The connection that holds the lock dies; the reader's other ones live on.
    with psycopg.connect(stack.settings.require_database(), autocommit=True) as owner:
        assert owner.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND a.state = 'idle' AND a.datname = current_database()"
        ).fetchall()
    stack.orchestrator()
    stack.worker()
    assert stack.wait(batch).final["completed"] == 6000
    assert stack.count("SELECT count(*) FROM jobs") == 6000
    stack.must_hold(batch, 6000)


def test_a_dispatch_of_bulk_and_interactive_jobs_ends_with_its_last_one(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit([row(f"bulk-{n}", chat(f"[[fail:refused:1]] [[sleep:0.2]] {n}")) for n in range(10)])
    for number in range(4):
        stack.submit_now(chat(f"[[fail:refused:1]] [[sleep:0.2]] Now {number}"))
    assert stack.wait(batch).final["completed"] == 10
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state >= 10") == 14)
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0)
    assert endings(stack) == {"done"}


def test_a_cancelled_batch_leaves_its_dispatch_at_once(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit(rows(8, "[[sleep:30]] Think."))
    until(lambda: stack.count(CLAIMED) > 0)
    cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
    assert stack.wait(batch).status == "cancelled"
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0)
    assert "lost" not in endings(stack)
    assert {line["error"]["code"] for line in stack.lines(batch)} == {"batch_cancelled"}
    stack.must_hold(batch, 8)


def test_a_cancel_reaches_a_worker_long_before_its_next_heartbeat(settings: Settings) -> None:
    with Stack(settings.model_copy(update={"heartbeat_s": 60.0, "lease_s": 180.0})) as stack:
        stack.orchestrator()
        stack.worker()
        batch = stack.submit(rows(8, "[[sleep:30]] Think."))
        until(lambda: stack.count(CLAIMED) > 0)
        cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
        until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0, 15)
        assert stack.wait(batch).status == "cancelled"
        stack.must_hold(batch, 8)


@pytest.mark.fault
def test_f11_a_hung_redis_holds_up_no_record(own_stack: Stack) -> None:
    own_stack.orchestrator()
    own_stack.worker()
    batch = own_stack.submit(rows(30, "[[sleep:3]] Think."))
    until(lambda: own_stack.count(IN_HAND) == 30, what="all of it has come to the worker")
    assert own_stack.instance is not None
    part = own_stack.instance.state.part("valkey")
    assert part is not None
    os.kill(part.pid, signal.SIGSTOP)
    try:
        until(lambda: own_stack.count("SELECT count(*) FROM jobs WHERE state = 10") == 30, 30)
    finally:
        os.kill(part.pid, signal.SIGCONT)
    assert own_stack.wait(batch).final["completed"] == 30
    assert endings(own_stack) == {"done"}
