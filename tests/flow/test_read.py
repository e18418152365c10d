"""A batch whose reading meets a fault of ours ends; one that meets a server that is away goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import cancel, pause, read
from orchestrator.flow.lines import Line
from orchestrator.flow.prepare import prepare
from orchestrator.store import batches, jobs, limits
from tests.stack import OWNER, Stack, chat, row, until

LINES = [row(f"row-{n}", chat(f"Number {n}.")) for n in range(3)]
JOBS = "SELECT custom_id, state, fault_code, fault_message FROM jobs ORDER BY row_number"
CAPS = "SELECT limit_usd FROM budgets WHERE scope = 'batch'"


def spoil(monkeypatch: pytest.MonkeyPatch, *rows: str, error: Exception) -> None:
    """Plant a bug that some rows meet."""

    def planted(*given: Any, **named: Any) -> Any:
        if named["custom_id"] in rows:
            raise error
        return prepare(*given, **named)

    monkeypatch.setattr(read, "prepare", planted)


@pytest.mark.parametrize("error", [ValueError("deep within"), KeyError("x"), RecursionError(), ZeroDivisionError()])
def test_a_bug_that_one_row_meets_fails_its_batch_and_says_which_row(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    spoil(monkeypatch, "row-1", error=error)
    batch = stack.submit(LINES)
    assert read.read_waiting(stack.context) == 1
    ended = stack.batch(batch)
    assert ended.status == "failed"
    (told,) = ended.errors["data"]
    assert (told["code"], told["line"]) == ("internal_error", 2)
    assert "read_failed" in told["message"]
    assert [record.getMessage() for record in caplog.records] == ["read_failed"]
    assert stack.count("SELECT count(*) FROM jobs") == 0
    assert stack.query("SELECT sum(held_usd) FROM budgets")[0][0] in (0, None)
    stack.must_hold()


def test_where_rows_are_reported_a_bug_costs_only_the_rows_that_meet_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch, "row-0", "row-2", error=ValueError("deep within"))
    batch = stack.submit(LINES, hints={"on_invalid_row": "report"})
    read.read_waiting(stack.context)
    assert stack.batch(batch).status == "in_progress"
    found = stack.query(JOBS)
    assert [(one.custom_id, one.state, one.fault_code) for one in found] == [
        ("row-0", 11, "internal_error"), ("row-1", 1, None), ("row-2", 11, "internal_error"),
    ]  # fmt: skip
    assert len(caplog.records) == 1, "of many rows that meet the same bug one is told"
    monkeypatch.undo()
    stack.orchestrator()
    stack.worker()
    assert stack.wait(batch).status == "completed"
    stack.must_hold(batch, 3)


@pytest.mark.parametrize("step", ["_start", "_store", "check_jobs_queued"])
def test_a_bug_beside_the_rows_fails_the_batch_and_holds_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def planted(*_: Any) -> None:
        raise ValueError("deep within")

    monkeypatch.setattr(read, step, planted)
    batch = stack.submit(LINES)
    read.read_waiting(stack.context)
    ended = stack.batch(batch)
    assert (ended.status, ended.errors["data"][0]["code"]) == ("failed", "internal_error")
    assert stack.count("SELECT count(*) FROM jobs") == 0
    stack.must_hold()


def test_hints_that_hold_no_longer_fail_their_batch_with_the_reason(stack: Stack) -> None:
    batch = stack.submit(LINES)
    stack.query('UPDATE batches SET hints = CAST(\'{"tier": "huge"}\' AS jsonb) WHERE id = :id RETURNING id', id=batch)
    read.read_waiting(stack.context)
    ended = stack.batch(batch)
    assert (ended.status, ended.errors["data"][0]["code"]) == ("failed", "invalid_request")


@pytest.mark.parametrize("error", [ServiceUnavailable("away"), OSError(28, "No space left on device"), MemoryError()])
def test_what_passes_by_leaves_the_batch_to_the_next_pass(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    batch = stack.submit(LINES)
    with monkeypatch.context() as planting:
        spoil(planting, "row-1", error=error)
        if isinstance(error, ServiceUnavailable):
            with pytest.raises(ServiceUnavailable):
                read.read_waiting(stack.context)
        else:
            read.read_waiting(stack.context)
    assert stack.batch(batch).status == "validating"
    read.read_waiting(stack.context)
    assert stack.batch(batch).status == "in_progress"


def test_a_reader_that_was_overtaken_takes_no_rows_away(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = stack.submit(LINES)

    def overtaken(*_: Any) -> None:
        monkeypatch.undo()
        read.read_batch(stack.context, batch)
        raise ValueError("too late")

    monkeypatch.setattr(read, "_start", overtaken)
    read.read_batch(stack.context, batch)
    assert stack.batch(batch).status == "in_progress"
    assert stack.count("SELECT count(*) FROM jobs") == 3
    stack.must_hold()


def meanwhile(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], None]) -> None:
    """Have something happen once, right before a step of a reading."""
    real = getattr(read, step)

    def first(*given: Any) -> Any:
        monkeypatch.setattr(read, step, real)
        act()
        return real(*given)

    monkeypatch.setattr(read, step, first)


def test_a_budget_that_is_set_while_a_batch_of_its_key_is_read_holds_that_batch_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit() -> None:
        assert stack.count("SELECT count(*) FROM jobs") == 3
        with stack.context.database.unit_of_work(1) as session:
            limits.set_budget(session, 1, "key", OWNER.api_key_id, "total", Decimal(5))

    meanwhile(monkeypatch, "_open", limit)
    stack.submit(LINES)
    read.read_waiting(stack.context)
    held = {one.scope: one.held_usd for one in stack.query("SELECT scope, held_usd FROM budgets")}
    assert held["key"] == held["project"] > 0
    stack.must_hold()


@pytest.mark.parametrize("step", ["_store", "check_jobs_queued"])
def test_a_cap_that_is_changed_while_a_batch_is_read_holds(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    batch = stack.submit(LINES, hints={"max_cost_usd": "0.5"})
    public_id = stack.batch(batch).public_id
    meanwhile(monkeypatch, step, lambda: pause.resume_batch(stack.context, OWNER, public_id, Decimal(7)))
    read.read_waiting(stack.context)
    opened = stack.batch(batch)
    assert (opened.status, opened.max_cost_usd) == ("in_progress", 7)
    assert [one.limit_usd for one in stack.query(CAPS)] == [7]
    stack.must_hold()


def test_a_batch_that_fails_leaves_no_cap_that_it_was_given_meanwhile(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = stack.submit(LINES, hints={"max_cost_usd": "0.5"})
    public_id, least = stack.batch(batch).public_id, Decimal("0.000001")
    meanwhile(monkeypatch, "_store", lambda: pause.resume_batch(stack.context, OWNER, public_id, least))
    read.read_waiting(stack.context)
    ended = stack.batch(batch)
    assert (ended.status, ended.errors["data"][0]["code"]) == ("failed", "budget_exhausted")
    assert stack.query(CAPS) == []
    stack.must_hold()


def test_a_batch_that_is_cancelled_at_the_last_moment_gets_no_cap(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = stack.submit(LINES, hints={"max_cost_usd": "0.5"})
    public_id = stack.batch(batch).public_id
    meanwhile(monkeypatch, "check_jobs_queued", lambda: cancel.cancel_batch(stack.context, OWNER, public_id))
    read.read_waiting(stack.context)
    assert stack.batch(batch).status == "cancelling"
    assert stack.query(CAPS) == []


def test_a_reader_that_goes_on_writes_no_body_a_second_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    context = replace(stack.context, settings=stack.settings.model_copy(update={"inline_body_bytes": 0}))
    monkeypatch.setattr(read, "CHUNK_ROWS", 1)
    lines = [LINES[0], b"no JSON", *LINES[1:]]
    batch = stack.submit(lines, hints={"on_invalid_row": "report"})
    with monkeypatch.context() as planting:
        spoil(planting, "row-2", error=ServiceUnavailable("away"))
        with pytest.raises(ServiceUnavailable):
            read.read_waiting(context)
    assert stack.count("SELECT count(*) FROM jobs") == 3
    read.read_waiting(context)
    assert stack.batch(batch).status == "in_progress"
    known = {one.blob_key for one in stack.query("SELECT blob_key FROM job_requests WHERE blob_key IS NOT NULL")}
    bodies = stack.settings.blobs / "bodies"
    assert {str(path.relative_to(stack.settings.blobs)) for path in bodies.rglob("*") if path.is_file()} == known
    assert len(known) == 3
    found = stack.query(JOBS)
    assert [one.custom_id for one in found] == ["row-0", "line-2", "row-1", "row-2"]
    stack.must_hold()


def test_of_two_readers_that_lost_their_lock_only_one_stores_a_row(stack: Stack) -> None:
    batch = stack.submit(LINES)
    database = stack.context.database
    reading = read._start(stack.context, stack.batch(batch))
    told: list[bool] = []

    def other() -> None:
        with database.unit_of_work() as session:
            told.append(batches.reads_on(session, batch, 0))

    second = threading.Thread(target=other)
    with database.unit_of_work() as session:
        assert batches.reads_on(session, batch, 0)
        second.start()
        until(lambda: stack.count("SELECT count(*) FROM pg_locks WHERE NOT granted"), what="the other reader waits")
        line = Line(1, orjson.dumps(LINES[0]))
        jobs.put(session, read._jobs_of(stack.context, reading, line, already_in=False), reading.frame)
    second.join(10)
    assert told == [False]
