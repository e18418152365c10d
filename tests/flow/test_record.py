"""Record: a write counts for the job and the dispatch that it ran in, and one bad outcome costs nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from orchestrator.contracts import ClaimedJob, Fault, JobState, Outcome, OutcomeKind, Usage
from orchestrator.errors import InvalidConfig
from orchestrator.flow import claim, lease
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.record import Recorder
from orchestrator.store.workers import Presence
from tests.stack import Stack, rows, until
from workers.recording import Item, Open, RecordingThread

WORKER = uuid4()
ANSWER = Outcome(OutcomeKind.SUCCEEDED, Usage(10, 0, 5), b"{}")


@pytest.fixture
def worker(stack: Stack) -> Iterator[Context]:
    """A worker's context; the test plays the worker."""
    with closing(open_context(stack.settings, "worker")) as made:
        yield made


def next_claim(stack: Stack, worker: Context, *, alone: bool = False) -> list[ClaimedJob]:
    """The jobs of the next dispatch that is made for the test's worker."""

    def claimed() -> list[ClaimedJob]:
        lease.beat(worker, WORKER, [Presence("fast", "llm", 8, None)], [], [])
        for found in stack.query("SELECT id FROM dispatches WHERE claimed_at IS NULL AND ended_at IS NULL"):
            taken = claim.claim(worker, found.id, WORKER, alone=alone)
            assert isinstance(taken, claim.Claimed)
            return list(taken.jobs)
        return []

    return until(claimed, what="a dispatch is claimed")


def states(stack: Stack) -> list[int]:
    return [found.state for found in stack.query("SELECT state FROM jobs ORDER BY id")]


def test_outcomes_of_one_job_from_a_lost_and_from_its_present_dispatch_in_one_group_count_once(
    stack: Stack, worker: Context
) -> None:
    batch = stack.submit(rows(3))
    stack.orchestrator()
    before = next_claim(stack, worker)
    assert len(before) == 3
    now = next_claim(stack, worker, alone=True)
    assert {job.id for job in now} == {job.id for job in before}
    taken = Recorder(worker).record([(job, ANSWER) for job in [*before, *now]], [now[0].dispatch_id])
    assert taken.keys() == {job.fence for job in now}
    assert stack.count("SELECT count(*) FROM attempts") == 3
    stack.wait(batch)
    stack.must_hold(batch, 3)


def test_an_outcome_that_no_row_can_hold_fails_its_job_and_no_other(stack: Stack, worker: Context) -> None:
    batch = stack.submit(rows(3))
    stack.orchestrator()
    jobs = next_claim(stack, worker)
    nul = Outcome(OutcomeKind.SUCCEEDED, Usage(10, 0, 5), b"{}", model_revision="no\x00text")
    Recorder(worker).record(list(zip(jobs, (ANSWER, nul, ANSWER), strict=True)), [jobs[0].dispatch_id])
    assert states(stack) == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]
    (told,) = stack.query("SELECT fault_code FROM jobs WHERE state = 11")
    assert told.fault_code == "unrecordable"
    stack.wait(batch)
    stack.must_hold(batch, 3)


def test_an_attempt_on_a_simulated_model_that_ran_out_of_time_says_that_it_was_simulated(
    stack: Stack, worker: Context
) -> None:
    stack.submit(rows(1))
    stack.orchestrator()
    (job,) = next_claim(stack, worker)
    late = Fault("deadline_exceeded", "The model did not answer before the job's deadline.", 504)
    Recorder(worker).record([(job, Outcome(OutcomeKind.EXPIRED, fault=late))], [job.dispatch_id])
    (attempt,) = stack.query("SELECT outcome, simulated FROM attempts")
    assert (attempt.outcome, attempt.simulated) == ("expired", True)


def test_a_dispatch_with_an_outcome_that_was_not_recorded_is_not_ended_and_its_jobs_come_back(
    stack: Stack, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = stack.submit(rows(3))
    stack.orchestrator()
    jobs = next_claim(stack, worker)

    def refuse(*_: object) -> None:
        raise InvalidConfig("its price is gone")

    recorder = RecordingThread(worker, "test")
    mine = Open(jobs[0].dispatch_id, len(jobs))
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "record", refuse)
        recorder.put(Item(jobs[0], ANSWER, mine))
        recorder.start()
        until(lambda: mine.left == 2, what="the first outcome is given up")
    for job in jobs[1:]:
        recorder.put(Item(job, ANSWER, mine))
    assert mine.settled.wait(10)
    assert sorted(states(stack)) == [JobState.ASSIGNED, JobState.SUCCEEDED, JobState.SUCCEEDED]
    stack.worker()
    assert stack.wait(batch).final["completed"] == 3
    recorder.close()
    stack.must_hold(batch, 3)


def test_a_blob_store_that_is_away_is_told_as_such_and_loses_no_outcome(
    stack: Stack, worker: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batch = stack.submit(rows(1))
    stack.orchestrator()
    jobs = next_claim(stack, worker)
    worker.settings = worker.settings.model_copy(update={"inline_body_bytes": 0})
    recorder = RecordingThread(worker, "test")
    folder = stack.settings.blobs
    away = folder.rename(folder.with_name("away"))
    folder.write_text("a file where the folder was")
    recorder.put(Item(jobs[0], ANSWER, Open(jobs[0].dispatch_id, 1)))
    recorder.start()
    until(lambda: caplog.records, what="it is told")
    folder.unlink()
    away.rename(folder)
    assert stack.wait(batch).final["completed"] == 1
    assert {(record.getMessage(), record.fields["waiting"]) for record in caplog.records} == {("blobs_away", 1)}  # type: ignore[attr-defined]
    recorder.close()
    stack.must_hold(batch, 1)
