"""Read: the rows of a batch that is `validating` are checked, routed, priced and stored, and the batch is opened.

Rows go in by chunks, each its own transaction. Nobody can assign a job before the last transaction opens the batch, so a
reader that dies leaves nothing half done: the next one goes on after the last row that is in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO, Final

import orjson
from sqlalchemy import Row

from orchestrator import ids
from orchestrator.contracts import BatchStatus, JobState, Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import BudgetExhausted, NotFound, OverQuota, Refused
from orchestrator.flow import notify
from orchestrator.flow.admit import OverBudget, admit_batch, note_refusal
from orchestrator.flow.context import Context, one_batch
from orchestrator.flow.lines import Line, bounded_lines
from orchestrator.flow.prepare import prepare, unreadable
from orchestrator.flow.quotas import check_jobs_queued
from orchestrator.hints import Hints, hints_from
from orchestrator.pricing import usd
from orchestrator.routing import Situation
from orchestrator.settings import MIB
from orchestrator.store import batches, files, jobs
from orchestrator.store.jobs import Frame, NewJob

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 16 * MIB
MAX_CUSTOM_ID: Final = 512
MOST_HELD_USD: Final = 10**8
"""What the database's sums can hold."""


class Overtaken(Exception):
    """The batch was cancelled, or another reader has it: the lock's connection may be lost while ours lives on."""


class RowError(Exception):
    """A row that cannot become a job: what OpenAI's validation would say of it."""

    def __init__(
        self, code: str, message: str, line: int | None, param: str | None = None, custom_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.line, self.param, self.custom_id = code, message, line, param, custom_id


@dataclass(slots=True)
class Reading:
    """How far the reading of one batch has come."""

    row: Row[Any]
    hints: Hints
    reports: bool
    """Whether an invalid row gets a line in the error file, instead of failing the batch."""
    now: Situation
    frame: Frame
    seen: set[bytes] = field(default_factory=set)
    rows: int = 0
    stored: int = 0
    """The number of the last row that is in."""
    born_failed: Counter[str] = field(default_factory=Counter)
    hold_usd: Decimal = Decimal(0)
    estimate_usd: Decimal = Decimal(0)
    errors: list[dict[str, Any]] = field(default_factory=list)
    invalid: int = 0


def read_waiting(context: Context) -> int:
    """Read every batch that waits for it, each guarded by an advisory lock; returns how many were read."""
    with context.database.unit_of_work() as session:
        waiting = batches.of_status(session, BatchStatus.VALIDATING)
    done = 0
    for batch_id in waiting:
        with one_batch(context, "read", batch_id) as ours:
            if ours:
                read_batch(context, batch_id)
                done += 1
    return done


def read_batch(context: Context, batch_id: int) -> None:
    """Read one batch to its end: opened, or failed with the errors of its rows by line."""
    with context.database.unit_of_work() as session:
        row = batches.get(session, batch_id)
        file = files.get(session, row.input_file_id)
    if row.status != BatchStatus.VALIDATING:
        return
    reading = _start(context, row)
    try:
        with context.blobs.reading(file.blob_key) as source:
            _read_rows(context, reading, source)
        if reading.errors:
            _fail(context, reading)
        else:
            _open(context, reading)
    except Overtaken:
        return
    except (BudgetExhausted, NotFound, OverQuota) as error:
        if isinstance(error, OverBudget):
            note_refusal(context, reading.frame.owner, error)
        reading.errors = [_error_entry(error.code, error.message, None, None)]
        _fail(context, reading)


def _start(context: Context, row: Row[Any]) -> Reading:
    owner = Owner(row.tenant_id, row.project_id, row.api_key_id)
    shared = {key: value for key, value in row.hints.items() if key not in ("on_invalid_row", "max_cost_usd")}
    versions = context.versions
    frame = Frame(owner, row.id, row.deadline, versions.fleet, versions.policy, versions.prices)
    return Reading(
        row=row,
        hints=hints_from(shared or None),
        reports=row.hints.get("on_invalid_row") == "report",
        now=context.situation(owner.tenant_id),
        frame=frame,
    )


def _read_rows(context: Context, reading: Reading, source: BinaryIO) -> None:
    """Store every row that is not in yet. A batch that is past its first error only collects further errors."""
    with context.database.unit_of_work() as session:
        last_row, born_failed, held = jobs.last_row(session, reading.row.id)
    reading.hold_usd, reading.stored = held, last_row
    if born_failed:
        reading.born_failed[context.config.policy.default_tier] = born_failed
    chunk: list[NewJob] = []
    size = 0
    for line in bounded_lines(source, context.settings.max_row_bytes):
        job = _job_of(context, reading, line, already_in=line.number <= last_row)
        if job is None or reading.errors:
            continue
        chunk.append(job)
        size += len(job.body or b"")
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            _store(context, reading, chunk)
            chunk, size = [], 0
    if chunk and not reading.errors:
        _store(context, reading, chunk)
    if reading.rows == 0 and not reading.errors:
        reading.errors.append(
            _error_entry("empty_file", "The file has no rows. Write one JSON object a line.", None, None)
        )


def _job_of(context: Context, reading: Reading, line: Line, *, already_in: bool) -> NewJob | None:
    """The job of one line; None if it is in already, or if the batch has failed because of it."""
    settings = context.settings
    reading.rows += 1
    if reading.rows > settings.max_batch_rows:
        if reading.rows == settings.max_batch_rows + 1:
            message = f"The file has more than {settings.max_batch_rows} rows. Split it into several batches."
            reading.errors.append(_error_entry("too_many_rows", message, line.number, None))
        return None
    public_id = next(_fresh_ids)
    try:
        job = _parse(context, reading, line, public_id)
    except RowError as error:
        if not reading.reports:
            reading.invalid += 1
            if len(reading.errors) < settings.max_errors_listed:
                reading.errors.append(_error_entry(error.code, error.message, error.line, error.param))
            return None
        custom_id = error.custom_id or _invented_id(reading, line.number)
        job = unreadable(
            reading.row.endpoint, error.code, error.message, context.config.policy.default_tier,
            public_id=public_id, row_number=line.number, custom_id=custom_id,
        )  # fmt: skip
    if already_in:
        return None
    if job.state is JobState.FAILED:
        reading.born_failed[job.tier] += 1
    reading.hold_usd += job.held_usd
    return job


def _parse(context: Context, reading: Reading, line: Line, public_id: str) -> NewJob:
    """A line as a job; raises RowError with OpenAI's code for what is wrong."""
    row = _row_of(line, context.settings.max_row_bytes)
    custom_id = _custom_id(reading, row, line.number)
    if b"\\u0000" in (line.content or b""):
        message = "The row holds a NUL character, which cannot be stored. Remove it."
        raise RowError("invalid_text", message, line.number, custom_id=custom_id)
    if "rightsize" in row:
        message = "`rightsize` stands beside `body`, where nothing reads it. Put it into the body."
        raise RowError("misplaced_hints", message, line.number, "rightsize", custom_id)
    endpoint = reading.row.endpoint
    declared = row.get("error")
    if isinstance(declared, dict) and "body" not in row:
        code, message = (
            str(declared.get("code", "unreadable"))[:64],
            str(declared.get("message", "The row could not be read."))[:2000],
        )
        raise RowError(code, message, line.number, custom_id=custom_id)
    if row.get("method", "POST") != "POST":
        raise RowError("invalid_method", "`method` must be POST.", line.number, "method", custom_id)
    if row.get("url", endpoint) != endpoint:
        raise RowError(
            "mismatched_endpoint", f"`url` must be the batch's endpoint, {endpoint}.", line.number, "url", custom_id
        )
    try:
        return prepare(
            context, endpoint, row.get("body"), reading.hints, reading.now,
            public_id=public_id, row_number=line.number, custom_id=custom_id,
        )  # fmt: skip
    except Refused as error:
        raise RowError(error.code, error.message, line.number, error.param, custom_id) from None
    except (UnicodeEncodeError, TypeError, orjson.JSONEncodeError):
        raise RowError(
            "invalid_text", "The row holds text that is not valid Unicode.", line.number, "body", custom_id
        ) from None


def _row_of(line: Line, most_bytes: int) -> dict[str, Any]:
    if line.content is None:
        raise RowError(
            "row_too_large",
            f"The row is longer than {most_bytes} bytes. Split it, or raise max_row_bytes.",
            line.number,
        )
    try:
        row = orjson.loads(line.content)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise RowError("invalid_json_line", f"The line is not valid JSON: {str(error)[:200]}.", line.number) from None
    if not isinstance(row, dict):
        raise RowError(
            "invalid_row", "The line must be a JSON object with custom_id, method, url and body.", line.number
        )
    return row


def _custom_id(reading: Reading, row: dict[str, Any], number: int) -> str:
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID or "\0" in custom_id:
        raise RowError(
            "missing_custom_id",
            f"`custom_id` must be text of 1 to {MAX_CUSTOM_ID} characters, without NUL.",
            number,
            "custom_id",
        )
    mark = hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=10).digest()
    if mark in reading.seen:
        raise RowError("duplicate_custom_id", f"The custom_id {custom_id[:80]!r} appears twice.", number, "custom_id")
    reading.seen.add(mark)
    return custom_id


def _invented_id(reading: Reading, number: int) -> str:
    """A custom_id for a row that has none of its own, kept apart from the file's."""
    custom_id = f"line-{number}"
    while (mark := hashlib.blake2b(custom_id.encode(), digest_size=10).digest()) in reading.seen:
        custom_id = f"{custom_id}-again"
    reading.seen.add(mark)
    return custom_id


def _store(context: Context, reading: Reading, chunk: list[NewJob]) -> None:
    with context.database.unit_of_work() as session:
        if not batches.reads_on(session, reading.row.id, reading.stored):
            raise Overtaken
        jobs.put(session, chunk, reading.frame)
    reading.stored = chunk[-1].row_number
    reached("read.between_chunks")


def _open(context: Context, reading: Reading) -> None:
    """Reserve the budget and open the batch, in one short transaction."""
    row = reading.row
    if reading.hold_usd >= MOST_HELD_USD:
        raise BudgetExhausted(
            f"This is expected to cost {usd(reading.hold_usd)}, more than any budget can hold. Split it, or lower max_tokens."
        )
    with context.database.unit_of_work() as session:
        if not batches.open_batch(session, row.id, reading.rows, reading.hold_usd):
            return
        tallies = [
            batches.Tally(row.id, tier, "none", JobState.FAILED, count)
            for tier, count in reading.born_failed.items()
            if count
        ]
        batches.add_progress(session, tallies)
        check_jobs_queued(context, session, reading.frame.owner, reading.rows)
        admit_batch(session, reading.frame.owner, row.id, reading.hold_usd, row.max_cost_usd)
    context.broker.wake()


def _fail(context: Context, reading: Reading) -> None:
    """End the batch as failed, then take its rows away: they were never accepted."""
    if reading.invalid > len(reading.errors):
        more = f"{reading.invalid - len(reading.errors)} further rows are invalid and not listed."
        reading.errors.append(_error_entry("more_errors", more, None, None))
    final = {"total": 0, "completed": 0, "failed": 0}
    with context.database.unit_of_work() as session:
        batches.fail(session, reading.row.id, {"object": "list", "data": reading.errors}, final)
        notify.batch_ended(session, reading.frame.owner, reading.row.public_id, BatchStatus.FAILED)
    drop_rows(context, reading.row.id)


def drop_rows(context: Context, batch_id: int) -> None:
    """Delete the rows of a batch that was never opened, in chunks."""
    while True:
        with context.database.unit_of_work() as session:
            if jobs.delete_unopened(session, batch_id) == 0:
                return


def _error_entry(code: str, message: str, line: int | None, param: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}


def _endless_ids() -> Iterator[str]:
    while True:
        yield from ids.uuid7s(CHUNK_ROWS)


_fresh_ids: Final = _endless_ids()
"""Public ids, made by the thousand; the reader is one thread."""
