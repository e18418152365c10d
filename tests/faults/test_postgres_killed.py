"""F17: PostgreSQL dies, or restarts in order, while a process stands at each edge of the path."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.nursery import Started
from tests.stack import Stack, chat, rows, until

WORKER = ["claim.before", "claim.after_commit", "execute.after_perform", "record.before_commit", "record.after_commit"]
ORCHESTRATOR = ["read.between_chunks", "dispatch.after_commit", "dispatch.after_publish", "finish.after_files"]
FAST = signal.SIGINT
"""PostgreSQL's fast shutdown: it ends every session in order."""
MANY = 2100
"""Rows of more than one chunk."""


def test_f17_a_postgres_that_dies_at_every_edge_of_a_worker_loses_and_doubles_nothing(own_stack: Stack) -> None:
    stack = own_stack
    stack.orchestrator()
    for point, number in (*((one, signal.SIGKILL) for one in WORKER), ("record.before_commit", FAST)):
        standing = stack.worker(crash_at=f"{point}:stop")
        batch = stack.submit(rows(20))
        restart_at(stack, standing, number, point)
        assert stack.wait(batch).final["completed"] == 20, point
        stack.must_hold(batch, 20)
        stack.kill(standing)


def test_f17_a_postgres_that_dies_at_every_edge_of_an_orchestrator_loses_and_doubles_nothing(own_stack: Stack) -> None:
    stack = own_stack
    stack.worker()
    for point in ORCHESTRATOR:
        batch = stack.submit(rows(MANY if point == "read.between_chunks" else 20))
        standing = stack.orchestrator(crash_at=f"{point}:stop")
        restart_at(stack, standing, signal.SIGKILL, point)
        ended = stack.wait(batch)
        assert ended.final["completed"] == ended.total, point
        stack.must_hold(batch, ended.total)
        stack.kill(standing)


def test_f17_a_postgres_that_dies_in_a_recovery_pass_counts_one_loss(own_stack: Stack) -> None:
    stack = own_stack
    doomed = stack.worker(crash_at="execute.before_perform:kill")
    job = stack.submit_now(chat("Hello"))
    assert doomed.wait(30) == -signal.SIGKILL
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE lease_until < now() AND ended_at IS NULL") == 1)
    standing = stack.orchestrator(crash_at="recover.before_commit:stop")
    restart_at(stack, standing, signal.SIGKILL, "recover.before_commit")
    stack.worker()
    ended = stack.wait_job(job.public_id)
    assert (ended.state, ended.attempts) == (10, 2)
    stack.must_hold()


def restart_at(stack: Stack, standing: Started, number: signal.Signals, point: str) -> None:
    """Once a process stands at its crash point, end PostgreSQL, wait until it is back, and let the process go on."""
    until(lambda: Path(f"/proc/{standing.pid}/stat").read_text().split()[2] == "T", what=f"{point} is reached")
    before = _postgres(stack)
    os.kill(before, number)
    until(lambda: _postgres(stack) not in (before, 0), what="postgres is back")
    until(lambda: stack.count("SELECT 1"), what="this test's own connections are new ones")
    standing.send_signal(signal.SIGCONT)


def _postgres(stack: Stack) -> int:
    """The pid of the instance's server once it is ready, else 0."""
    assert stack.instance is not None
    found = stack.instance.state.part("postgres")
    return found.pid if found is not None and found.state == "ready" else 0
