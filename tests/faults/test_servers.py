"""Servers that lose everything, die or go away while work runs."""

from __future__ import annotations

import os
import signal

from tests.stack import Stack, rows, until


def test_f9_a_flushed_redis_in_the_middle_of_a_run_loses_nothing(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(300, "[[sleep:0.2]] Where is my order?"))
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 20)
    stack.broker.redis.flushdb()
    assert stack.wait(batch).final["completed"] == 300
    stack.must_hold(batch, 300)


def test_f10_a_redis_killed_again_and_again_loses_nothing(own_stack: Stack) -> None:
    stack = own_stack
    stack.orchestrator()
    batch = stack.submit(rows(400, "[[sleep:0.3]] Where is my order?"))
    stack.worker()
    assert stack.instance is not None
    for round_ in range(3):
        until(lambda n=round_: stack.count("SELECT count(*) FROM attempts") > 30 * (n + 1))
        before = _pid(stack, "valkey")
        os.kill(before, signal.SIGKILL)
        until(lambda old=before: _pid(stack, "valkey") not in (old, 0), what="valkey is back")
    assert stack.wait(batch, 90).final["completed"] == 400
    stack.must_hold(batch, 400)


def test_f17_a_postgres_killed_in_the_middle_keeps_what_was_committed(own_stack: Stack) -> None:
    stack = own_stack
    stack.orchestrator()
    batch = stack.submit(rows(300, "[[sleep:0.3]] Where is my order?"))
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 30)
    before = _pid(stack, "postgres")
    os.kill(before, signal.SIGKILL)
    until(lambda: _pid(stack, "postgres") not in (before, 0), what="postgres is back")
    assert stack.wait(batch, 90).final["completed"] == 300
    stack.must_hold(batch, 300)


def _pid(stack: Stack, name: str) -> int:
    """The pid of one of the instance's servers, 0 while it has none."""
    assert stack.instance is not None
    found = stack.instance.state.part(name)
    return found.pid if found is not None and found.pid else 0
