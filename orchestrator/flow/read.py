"""Read: the rows of a batch that is `validating` are checked, routed, priced and stored, and the batch is opened.

Rows go in by chunks, each its own transaction. Nobody can assign a job before the last transaction opens the batch, so a
reader that dies leaves nothing half done: the next one goes on after the last row that is in.
"""

from __future__ import annotations

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
from orchestrator.flow.rows import RowError, RowParser, not_text
from orchestrator.hints import Hints, hints_from
from orchestrator.pricing import usd
from orchestrator.routing import Situation
from orchestrator.settings import MIB
from orchestrator.store import batches, files, jobs
from orchestrator.store.jobs import Frame, NewJob

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 16 * MIB
MOST_HELD_USD: Final = 10**8
"""What the database's sums can hold."""


class Overtaken(Exception):
    """The batch was cancelled, or another reader has it: the lock's connection may be lost while ours lives on."""


@dataclass(slots=True)
class Reading:
    """How far the reading of one batch has come."""

    row: Row[Any]
    hints: Hints
    reports: bool
    """Whether an invalid row gets a line in the error file, instead of failing the batch."""
    now: Situation
    frame: Frame
    parser: RowParser
    fresh_ids: Iterator[str]
    rows: int = 0
    stored: int = 0
    """The number of the last row that is in."""
    born_failed: Counter[str] = field(default_factory=Counter)
    hold_usd: Decimal = Decimal(0)
    estimate_usd: Decimal = Decimal(0)
    errors: list[dict[str, Any]] = field(default_factory=list)
    invalid: int = 0


def read_waiting(context: Context) -> int:
    """Read every batch that waits for it, tenants in turns; returns how many were read.

    Of a tenant one batch at a time is read, whoever reads it: a tenant with large ones leaves a reader to the others.
    """
    tried: set[int] = set()
    turns: Counter[int] = Counter()
    while True:
        with context.database.unit_of_work() as session:
            waiting = [one for one in batches.to_read(session) if one[0] not in tried]
        if not any(_read_one(context, *one, tried) for one in sorted(waiting, key=lambda one: (turns[one[1]], one[0]))):
            return len(tried)
        turns.update(tenant_id for batch_id, tenant_id in waiting if batch_id in tried)


def _read_one(context: Context, batch_id: int, tenant_id: int, tried: set[int]) -> bool:
    """Read a batch, unless somebody reads one of its tenant just now."""
    with context.database.locked(f"read:tenant:{tenant_id}") as free:
        if free:
            with one_batch(context, "read", batch_id) as ours:
                if ours:
                    tried.add(batch_id)
                    read_batch(context, batch_id)
    return batch_id in tried


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
        parser=RowParser(row.endpoint, context.settings.max_row_bytes, context.settings.max_json_depth),
        fresh_ids=_endless_ids(),
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
        if reading.rows > context.settings.max_batch_rows:
            break
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
        message = f"The file has more than {settings.max_batch_rows} rows. Split it into several batches."
        reading.errors.append(_error_entry("too_many_rows", message, line.number, None))
        return None
    public_id = next(reading.fresh_ids)
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
    row = reading.parser.parsed(line)
    try:
        return prepare(
            context, reading.row.endpoint, row.body, reading.hints, reading.now,
            public_id=public_id, row_number=line.number, custom_id=row.custom_id,
        )  # fmt: skip
    except Refused as error:
        raise RowError(error.code, error.message, line.number, error.param, row.custom_id) from None
    except (UnicodeEncodeError, TypeError, orjson.JSONEncodeError):
        raise not_text(line.number, row.custom_id) from None


def _invented_id(reading: Reading, number: int) -> str:
    """A custom_id for a row that has none of its own, kept apart from the file's."""
    custom_id = f"line-{number}"
    while not reading.parser.is_new(custom_id):
        custom_id = f"{custom_id}-again"
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
    """Public ids, made by the thousand; each reading has its own, since readers are threads."""
    while True:
        yield from ids.uuid7s(CHUNK_ROWS)
