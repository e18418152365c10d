"""Processes killed or stopped at every edge of the path. The numbers are those of the project's list of faults."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.crashpoints import POINTS
from orchestrator.flow.dispatch import TOGETHER
from tests.nursery import Started
from tests.stack import Stack, chat, rows, until

WORKER_POINTS = ["claim.before", "claim.after_commit", "execute.before_perform", "execute.after_perform", "record.before_commit",
                 "record.after_commit"]  # fmt: skip
ORCHESTRATOR_POINTS = ["read.between_chunks", "dispatch.after_commit", "dispatch.after_publish", "finish.after_files"]

SUBMIT = """
from orchestrator.settings import Settings
from orchestrator.flow.context import open_context
from orchestrator.flow.submit import submit_job
from orchestrator.contracts import Owner
context = open_context(Settings.load(), "orchestrator")
submit_job(context, Owner(1, 1, 1), "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]},
           interactive=True, within_s=60.0, idempotency_key="once")
"""


def died(process: Started) -> None:
    """Wait until a process has died of the signal at its crash point: proof that the point was reached."""
    assert process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("point", ["submit.before_commit", "submit.after_commit"])
def test_f1_a_submit_killed_at_its_commit_and_sent_again_gives_one_job(stack: Stack, point: str) -> None:
    died(stack.start(SUBMIT, "api", crash_at=f"{point}:kill"))
    assert stack.start(SUBMIT, "api").wait(30) == 0
    assert stack.count("SELECT count(*) FROM jobs") == 1
    stack.orchestrator()
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 10") == 1)
    stack.must_hold()


@pytest.mark.parametrize("point", ORCHESTRATOR_POINTS)
def test_f2_f5_an_orchestrator_killed_at_an_edge_loses_and_doubles_nothing(stack: Stack, point: str) -> None:
    stack.worker()
    batch = stack.submit(rows(2500))
    died(stack.orchestrator(crash_at=f"{point}:kill"))
    stack.orchestrator()
    assert stack.wait(batch).final["completed"] == 2500
    stack.must_hold(batch, 2500)


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_f3_a_worker_killed_at_an_edge_loses_and_doubles_nothing(stack: Stack, point: str) -> None:
    stack.orchestrator()
    doomed = stack.worker(crash_at=f"{point}:kill")
    batch = stack.submit(rows(200))
    died(doomed)
    stack.worker()
    assert stack.wait(batch).final["completed"] == 200
    stack.must_hold(batch, 200)


def test_f4_a_recovery_pass_killed_in_the_middle_and_two_at_once_count_one_loss(stack: Stack) -> None:
    doomed = stack.worker(crash_at="execute.before_perform:kill")
    job = stack.submit_now(chat("Hello"))
    died(doomed)
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE lease_until < now() AND ended_at IS NULL") == 1)
    died(stack.orchestrator(crash_at="recover.before_commit:kill"))
    stack.orchestrator()
    stack.orchestrator()
    stack.worker()
    ended = stack.wait_job(job.public_id)
    assert (ended.state, ended.attempts) == (10, 2)
    stack.must_hold()


def test_f6_a_worker_that_slept_past_its_lease_changes_nothing(stack: Stack) -> None:
    stack.orchestrator()
    zombie = stack.worker(crash_at="execute.after_perform:stop")
    job = stack.submit_now(chat("Hello"))
    until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "T", what="the worker is stopped")
    stack.worker()
    stack.wait_job(job.public_id)
    before = stack.query("SELECT * FROM transfers ORDER BY attempt, kind")
    zombie.send_signal(signal.SIGCONT)
    until(
        lambda: stack.count(
            "SELECT count(*) FROM workers WHERE pid = :pid AND last_seen > now() - interval '1 second'", pid=zombie.pid
        )
    )
    zombie.send_signal(signal.SIGTERM)
    zombie.wait(20)
    assert stack.query("SELECT * FROM transfers ORDER BY attempt, kind") == before
    stack.must_hold()


def test_f8_workers_killed_again_and_again_lose_and_double_nothing(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(1200, "[[sleep:0.02]] Where is my order?"))
    worker = stack.worker()
    for _ in range(4):
        time.sleep(1.0)  # the pace of the killer, not a wait for something
        stack.kill(worker)
        worker = stack.worker()
    assert stack.wait(batch, 120).final["completed"] == 1200
    stack.must_hold(batch, 1200)


def test_f24_a_poison_job_fails_alone_and_its_neighbours_finish(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit([*rows(20), {**rows(1, "[[die]]")[0], "custom_id": "poison"}])
    worker = stack.worker()

    def ended() -> bool:
        nonlocal worker
        if worker.poll() is not None:
            worker = stack.worker()
        return stack.batch(batch).status == "completed"

    until(ended, 90, "the batch ends although one job kills its worker each time")
    final = stack.batch(batch).final
    assert (final["completed"], final["failed"]) == (20, 1)
    failed = next(line for line in stack.lines(batch) if line["error"])
    assert (failed["custom_id"], failed["error"]["code"]) == ("poison", "worker_lost")
    attempts = stack.query("SELECT j.custom_id, j.attempts FROM jobs j WHERE j.attempts <> 1")
    assert [(one.custom_id, one.attempts) for one in attempts] == [("poison", 3)]
    stack.must_hold(batch, 21)


CLAIMED = "SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL AND {}"
IN_HAND = "SELECT coalesce(sum(size), 0) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL"
GAP = """
    SELECT min(gap) FROM (
        SELECT a.created_at - lag(a.created_at) OVER (PARTITION BY a.dispatch_id ORDER BY a.created_at) AS gap
        FROM attempts a JOIN dispatches d ON d.id = a.dispatch_id WHERE {}
    ) one
"""
"""The least time between two records of one dispatch."""


def test_after_one_loss_suspects_run_beside_one_another_in_small_groups(stack: Stack) -> None:
    stack.orchestrator()
    doomed = stack.worker()
    batch = stack.submit(rows(24, "[[sleep:1.5]] Think."))
    until(lambda: stack.count(IN_HAND) == 24, what="all of it has come to the worker")
    stack.kill(doomed)
    stack.worker()
    assert stack.wait(batch).final["completed"] == 24
    assert stack.query(GAP.format("d.alone"))[0][0].total_seconds() < 0.4
    (most,) = stack.query("SELECT max(size) AS size, bool_or(one_by_one) AS in_turn FROM dispatches WHERE alone")
    assert (most.size, most.in_turn) == (TOGETHER, False)
    stack.must_hold(batch, 24)


def test_after_a_second_loss_suspects_run_one_after_the_other_and_a_stop_in_the_midst_of_them_counts_for_none(
    stack: Stack,
) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(12, "[[sleep:0.5]] Think."))
    for kind in ("NOT alone", "alone AND NOT one_by_one"):
        doomed = stack.worker()
        until(lambda kind=kind: stack.count(CLAIMED.format(kind)) > 0)  # type: ignore[misc]
        stack.kill(doomed)
    second = stack.worker()
    until(
        lambda: (
            stack.count("SELECT count(*) FROM attempts a JOIN dispatches d ON d.id = a.dispatch_id WHERE d.one_by_one")
            > 0
        )
    )
    second.send_signal(signal.SIGTERM)
    second.wait(20)
    stack.worker()
    assert stack.wait(batch).final["completed"] == 12
    assert stack.count("SELECT count(*) FROM attempts WHERE outcome <> 'succeeded'") == 0
    assert stack.query(GAP.format("d.one_by_one"))[0][0].total_seconds() > 0.4
    stack.must_hold(batch, 12)


def test_a_worker_told_to_stop_gives_back_uncounted_what_it_cannot_finish(stack: Stack) -> None:
    stack.orchestrator()
    worker = stack.worker()
    batch = stack.submit(rows(40, "[[sleep:30]] Think."))
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL") > 0)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    assert time.monotonic() - began < stack.settings.stop_within_s + 5
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 2") == 0)
    assert stack.count("SELECT count(*) FROM jobs WHERE state = 1 AND attempts = 0 AND batch_id = :b", b=batch) == 40
    assert stack.count("SELECT count(*) FROM attempts") == 0


def test_a_stop_in_the_middle_of_a_dispatch_keeps_what_is_done_and_gives_back_the_rest(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(
        [*rows(10), *({**one, "custom_id": f"long-{n}"} for n, one in enumerate(rows(10, "[[sleep:30]] Think.")))]
    )
    worker = stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") == 10)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    assert time.monotonic() - began < stack.settings.stop_within_s + 5
    assert stack.count("SELECT count(*) FROM jobs WHERE state = 10 AND batch_id = :b", b=batch) == 10
    assert stack.count("SELECT count(*) FROM jobs WHERE state = 1 AND attempts = 0 AND batch_id = :b", b=batch) == 10


def test_every_crash_point_is_struck_by_some_test() -> None:
    struck = {
        *WORKER_POINTS,
        *ORCHESTRATOR_POINTS,
        "submit.before_commit",
        "submit.after_commit",
        "coalesce.before_commit",
        "reduce.before_commit",
        "recover.before_commit",
        "machines.before_commit",
        "forget.after_rows",
        "forget.after_file",
        "upkeep.after_erase",
        "upkeep.after_drop",
    }
    assert struck == set(POINTS)
    assert os.environ.get("RIGHTSIZE_CRASH_AT") is None
