"""Read: the rows of a batch that is `validating` are checked, routed, priced and stored, and the batch is opened.

Rows go in by chunks, each its own transaction. Nobody can assign a job before the last transaction opens the batch, so a
reader that dies leaves nothing half done: the next one goes on after the last row that is in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.exc import DataError, IntegrityError

from orchestrator import ids
from orchestrator.contracts import BatchStatus, Owner
from orchestrator.crashpoints import reached
from orchestrator.eligibility import Situation
from orchestrator.errors import Broken, BudgetExhausted, InvalidRequest, OverQuota, Refused
from orchestrator.flow import documents, notify, tasks
from orchestrator.flow.admit import OverBudget, admit_batch, note_refusal
from orchestrator.flow.coalesce import coalesced
from orchestrator.flow.context import Context, one_batch
from orchestrator.flow.documents import Work
from orchestrator.flow.erasing import deleted
from orchestrator.flow.lines import Line, bounded_lines
from orchestrator.flow.prepare import prepare, unreadable
from orchestrator.flow.quotas import check_jobs_queued
from orchestrator.flow.rows import RowError, RowParser, not_text
from orchestrator.flow.submit import shared_in
from orchestrator.hints import Hints, hints_from
from orchestrator.pricing import usd
from orchestrator.requests import CHAT
from orchestrator.settings import MIB
from orchestrator.store import batches, budgets, files, jobs
from orchestrator.store.jobs import Frame, NewJob
from orchestrator.telemetry import log_fault

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 16 * MIB
MOST_HELD_USD: Final = 10**8
"""What the database's sums can hold."""
LASTING: Final = (
    ArithmeticError, AssertionError, AttributeError, Broken, DataError, IntegrityError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""Errors that a batch would meet again whenever it is read. A server that is away, a full disk or too little memory pass by."""
ROW_FAULT: Final = "Rightsize met a fault of its own with this row. Leave the row out, and report it: the orchestrator's log has more (read_failed)."
BATCH_FAULT: Final = (
    "Rightsize met a fault of its own while it read this batch. Send it again; if it stays, report it: the orchestrator's log has "
    "more (read_failed)."
)


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
    work: Work | None = None
    """What is done with rows that are documents; None where the batch has no task that says so."""
    hold_usd: Decimal = Decimal(0)
    estimate_usd: Decimal = Decimal(0)
    errors: list[dict[str, Any]] = field(default_factory=list)
    invalid: int = 0
    faults: int = 0
    """Rows with which we met a fault of our own."""
    loose: list[str] = field(default_factory=list)
    """Blobs of rows that are not stored yet."""


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
    try:
        errors = _read(context, row, file.blob_key)
    except Overtaken:
        return
    except (Refused, OverQuota) as error:
        if isinstance(error, OverBudget):
            note_refusal(context, _owner_of(row), error)
        errors = [_error_entry(error.code, error.message, None, None)]
    except LASTING as error:
        log_fault("read_failed", error, batch=row.id)
        errors = [_error_entry("internal_error", BATCH_FAULT, None, None)]
    if errors:
        _fail(context, row, errors)


def _read(context: Context, row: Row[Any], blob_key: str) -> list[dict[str, Any]]:
    """Store a batch's rows and open it; returns what is wrong with them, and then it is not opened."""
    reading = _start(context, row)
    with context.blobs.reading(blob_key) as source:
        _read_rows(context, reading, source)
    if not reading.errors:
        _open(context, reading)
    elif reading.invalid > len(reading.errors):
        more = f"{reading.invalid - len(reading.errors)} further rows are invalid and not listed."
        reading.errors.append(_error_entry("more_errors", more, None, None))
    return reading.errors


def _owner_of(row: Row[Any]) -> Owner:
    return Owner(row.tenant_id, row.project_id, row.api_key_id)


def _start(context: Context, row: Row[Any]) -> Reading:
    owner = _owner_of(row)
    hints = hints_from(shared_in(row.hints) or None)
    versions = context.versions
    frame = Frame(owner, row.id, row.deadline, versions.fleet, versions.policy, versions.prices)
    return Reading(
        row=row,
        hints=hints,
        work=_work(context, row, owner, hints),
        reports=row.hints.get("on_invalid_row") == "report",
        now=context.situation(owner.tenant_id),
        frame=frame,
        parser=RowParser(row.endpoint, context.settings.max_row_bytes, context.settings.max_json_depth),
        fresh_ids=_endless_ids(),
    )


def _work(context: Context, row: Row[Any], owner: Owner, hints: Hints) -> Work | None:
    version = row.hints.get("task_version")
    if version is None or hints.task is None:
        return None
    with context.database.unit_of_work() as session:
        found = tasks.of_version(session, owner.tenant_id, hints.task, version)
    return Work(owner, found, hints, refresh=bool(row.hints.get("refresh")))


def _read_rows(context: Context, reading: Reading, source: BinaryIO) -> None:
    """Store every row that is not in yet. A batch that is past its first error only collects further errors."""
    with context.database.unit_of_work() as session:
        last_row, held = jobs.last_row(session, reading.row.id)
    reading.hold_usd, reading.stored = held, last_row
    chunk: list[NewJob] = []
    size = 0
    for line in bounded_lines(source, context.settings.max_row_bytes):
        made = _jobs_of(context, reading, line, already_in=line.number <= last_row)
        if reading.rows > context.settings.max_batch_rows:
            break
        if not made:
            continue
        reading.loose += [job.blob_key for job in made if job.blob_key]
        if reading.errors:
            _drop_loose(context, reading, at_least=CHUNK_ROWS)
            continue
        chunk += made  # a document and its pieces go in together
        size += sum(len(job.body or b"") for job in made)
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            _store(context, reading, chunk)
            chunk, size = [], 0
    if reading.errors:
        _drop_loose(context, reading)
    elif chunk:
        _store(context, reading, chunk)
    if reading.rows == 0 and not reading.errors:
        reading.errors.append(
            _error_entry("empty_file", "The file has no rows. Write one JSON object a line.", None, None)
        )


def _jobs_of(context: Context, reading: Reading, line: Line, *, already_in: bool) -> list[NewJob]:
    """The job of one line, with those of its pieces; none if it is in already, or if the batch has failed because of it."""
    settings = context.settings
    reading.rows += 1
    if reading.rows > settings.max_batch_rows:
        message = f"The file has more than {settings.max_batch_rows} rows. Split it into several batches."
        reading.errors.append(_error_entry("too_many_rows", message, line.number, None))
        return []
    public_id = next(reading.fresh_ids)
    try:
        made = _parse(context, reading, line, public_id, already_in=already_in)
    except RowError as error:
        if not reading.reports:
            reading.invalid += 1
            if len(reading.errors) < settings.max_errors_listed:
                reading.errors.append(_error_entry(error.code, error.message, error.line, error.param))
            return []
        custom_id = error.custom_id or _invented_id(reading, line.number)
        failed = unreadable(
            reading.row.endpoint, error.code, error.message, context.config.policy.default_tier,
            public_id=public_id, row_number=line.number, custom_id=custom_id,
        )  # fmt: skip
        made = [failed]
    if already_in:
        return []
    reading.hold_usd += _held(made)
    return made


def _held(made: Iterable[NewJob]) -> Decimal:
    return sum((job.held_usd for job in made), start=Decimal(0))


def _parse(context: Context, reading: Reading, line: Line, public_id: str, *, already_in: bool) -> list[NewJob]:
    """A line as a job, none if it is in already; raises RowError with OpenAI's code for what is wrong."""
    custom_id = ""
    try:
        row = reading.parser.parsed(line)
        custom_id = row.custom_id
        if already_in:  # its custom_id is known now; its body lies where the reader of before put it
            return []
        if documents.is_document(row.body):
            return _document(context, reading, row.body, documents.Row(public_id, line.number, custom_id))
        return [
            prepare(
                context, reading.row.endpoint, row.body, reading.hints, reading.now,
                public_id=public_id, row_number=line.number, custom_id=custom_id,
            )
        ]  # fmt: skip
    except Refused as error:
        raise RowError(error.code, error.message, line.number, error.param, custom_id) from None
    except (UnicodeEncodeError, TypeError, orjson.JSONEncodeError):
        raise not_text(line.number, custom_id) from None
    except LASTING as error:
        reading.faults += 1
        if reading.faults == 1:  # the same fault may meet every row
            log_fault("read_failed", error, batch=reading.row.id, row=line.number)
        raise RowError("internal_error", ROW_FAULT, line.number, None, custom_id) from None


def _document(context: Context, reading: Reading, body: Any, row: documents.Row) -> list[NewJob]:
    if reading.work is None or reading.row.endpoint != CHAT:
        raise InvalidRequest(
            f"A document needs a task that says what is to be done with it: give the batch `rightsize.task`, and the endpoint {CHAT}.",
            param="document",
        )
    return documents.prepare_document(context, reading.work, body, reading.now, row)


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
        if reading.work is not None:
            held = _held(chunk)
            only = reading.row.id if reading.work.refresh else None
            chunk = coalesced(session, reading.frame.owner, chunk, reading.frame.deadline, only_batch=only)
            reading.hold_usd -= held - _held(chunk)
        jobs.put(session, chunk, reading.frame)
    reading.loose.clear()
    reading.stored = chunk[-1].row_number
    reached("read.between_chunks")


def _drop_loose(context: Context, reading: Reading, *, at_least: int = 1) -> None:
    """Delete the blobs of rows that will not be stored, once there are so many."""
    if len(reading.loose) >= at_least:
        deleted(context.blobs, reading.loose)
        reading.loose.clear()


def _open(context: Context, reading: Reading) -> None:
    """Reserve the budget and open the batch, in one short transaction."""
    row = reading.row
    if reading.hold_usd >= MOST_HELD_USD:
        raise BudgetExhausted(
            f"This is expected to cost {usd(reading.hold_usd)}, more than any budget can hold. Split it, or lower max_tokens."
        )
    owner = reading.frame.owner
    with context.database.unit_of_work() as session:
        born = jobs.ended_at_birth(session, row.id)
        ended = sum(count for *_, count in born)
        check_jobs_queued(context, session, owner, reading.rows - ended)  # before it is open, and counts itself
        if row.max_cost_usd is not None:  # locked before the batch, as whoever raises it meanwhile does
            budgets.cap_batch(session, owner, row.id, row.max_cost_usd)
        opened = batches.open_batch(session, row.id, reading.rows, reading.hold_usd)
        if opened is None:
            raise Overtaken
        batches.add_progress(session, [batches.Tally(row.id, *one) for one in born])
        admit_batch(session, owner, row.id, reading.hold_usd, opened.max_cost_usd)
    context.broker.wake()


def _fail(context: Context, row: Row[Any], errors: list[dict[str, Any]]) -> None:
    """End the batch as failed, then take its rows away: they were never accepted, and nothing is held for them."""
    final = {"total": 0, "completed": 0, "failed": 0}
    with context.database.unit_of_work() as session:
        if not batches.fail(session, row.id, {"object": "list", "data": errors}, final):
            return  # it was cancelled, or another reader has opened it: its rows are not ours
        notify.batch_ended(session, _owner_of(row), row.public_id, BatchStatus.FAILED)
    drop_rows(context, row.id)


def drop_rows(context: Context, batch_id: int) -> None:
    """Delete the rows of a batch that was never opened, in chunks, and then the blobs of their bodies; its cap goes as well."""
    with context.database.unit_of_work() as session:
        budgets.drop_batch(session, batch_id)
    while True:
        with context.database.unit_of_work() as session:
            dropped = jobs.delete_unopened(session, batch_id)
        if not dropped:
            return
        deleted(context.blobs, [key for key in dropped if key])


def _error_entry(code: str, message: str, line: int | None, param: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}


def _endless_ids() -> Iterator[str]:
    """Public ids, made by the thousand; each reading has its own, since readers are threads."""
    while True:
        yield from ids.uuid7s(CHUNK_ROWS)
