"""Again: the failed rows of a batch as a batch of their own, one tier up, whose output is merged with that of the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row

from orchestrator import ids
from orchestrator.contracts import ACCEPT, ASKED, BatchStatus, Owner, Tier
from orchestrator.eligibility import excluded
from orchestrator.errors import Conflict, InvalidRequest, NotFound, ServiceUnavailable
from orchestrator.fleet import Fleet
from orchestrator.flow.context import Context
from orchestrator.flow.lines import bounded_lines
from orchestrator.flow.quotas import check_file_bytes
from orchestrator.flow.submit import Repeat, create_batch
from orchestrator.hints import BOUNDED, Hints, hints_from
from orchestrator.requests import RESPONSES
from orchestrator.store import batches, files, jobs
from orchestrator.store.files import NewFile

PAGE: Final = 200
UP: Final = "up"
"""From the smallest; what sees and hears has nothing above it."""
ENDED: Final = frozenset({BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Again:
    """What is to run again, and where."""

    tier: str = UP
    """`up`, or the name of a tier."""
    only: str | None = None
    """Only rows that failed with this code."""
    window: str = "24h"


def retry_batch(
    context: Context, owner: Owner, public_id: UUID, wanted: Again, idempotency_key: str | None
) -> Row[Any]:
    """Make a batch of another's failed rows; returns its row. Raises NotFound, Conflict, or InvalidRequest where there are none."""
    if wanted.tier != UP and wanted.tier not in context.config.fleet.tiers:
        known = ", ".join((UP, *context.config.fleet.tiers))
        raise InvalidRequest(f"`tier` must be one of {known}; it is {wanted.tier[:40]!r}.", param="tier")
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = batches.find(session, owner.tenant_id, public_id)
    if row is None:
        raise NotFound(f"There is no batch {ids.public('batch', public_id)}.")
    if row.status == BatchStatus.FAILED:
        raise Conflict(
            "The batch failed when its file was read, so that none of its rows ran. Look at its `errors`, correct the file, "
            "and submit it again."
        )
    if row.status not in ENDED:
        raise Conflict(f"The batch is {row.status}: its failed rows can be tried again when it has ended.")
    file_id = ids.uuid7()
    key = f"inputs/{file_id.hex}"
    lines = 0
    with context.blobs.writing(key) as file:
        for line in _lines(context, owner, row, wanted):
            lines += 1
            file.write(line + b"\n")
        size = file.tell()
    if not lines:
        context.blobs.delete(key)
        told = f" with the code {wanted.only!r}" if wanted.only else ""
        raise InvalidRequest(
            f"No row of the batch failed{told} that can be tried again.", param="only" if wanted.only else None
        )
    stored_id: int | None = None
    try:
        with context.database.unit_of_work(owner.tenant_id) as session:
            name = f"{ids.public('batch', public_id)}_again.jsonl"
            check_file_bytes(session, owner, size)
            stored_id = files.add(session, owner, file_id, NewFile("batch", name, size, key)).id
        made = create_batch(
            context, owner, input_file=file_id, endpoint=row.endpoint, window=wanted.window, metadata=row.metadata,
            hints={"on_invalid_row": "report", **_of_task(row)}, idempotency_key=idempotency_key, output_expires_s=row.output_expires_s,
            repeat=Repeat(row.id, {"retry_of": public_id.hex, **asdict(wanted)}),
        )  # fmt: skip
    except ServiceUnavailable:  # it may be made all the same
        raise
    except BaseException:
        _drop(context, owner, stored_id, key)
        raise
    if made.input_file != file_id:  # made before, by the same request
        _drop(context, owner, stored_id, key)
    return made


def _of_task(batch: Row[Any]) -> dict[str, Any]:
    """The task of a batch of documents, in its version."""
    return {name: batch.hints[name] for name in ("task", "task_version") if "task_version" in batch.hints}


def _drop(context: Context, owner: Owner, file_id: int | None, key: str) -> None:
    """Take back a file that no batch reads."""
    if file_id is not None:
        with context.database.unit_of_work(owner.tenant_id) as session:
            files.delete(session, file_id)
    context.blobs.delete(key)


def _lines(context: Context, owner: Owner, batch: Row[Any], wanted: Again) -> Iterator[bytes]:
    documents: dict[str, str] = {}
    after = 0
    while True:
        with context.database.unit_of_work(owner.tenant_id) as session:
            page: Sequence[Row[Any]] = jobs.failed_requests(
                session, batch.id, only=wanted.only, after=after, limit=PAGE
            )
        for job in page:
            bounds = hints_from(orjson.loads(job.features).get("bounds"))
            tier = _tier(job.tier, wanted.tier, context.config.fleet, bounds)
            if job.document_hash is not None:
                documents[job.custom_id] = tier
                continue
            content = context.blobs.get(job.blob_key) if job.blob_key else job.body
            if content:
                yield orjson.dumps(_row(job, orjson.loads(content), tier))
        if len(page) < PAGE:
            break
        after = page[-1].id
    if documents:
        yield from _documents(context, owner, batch, documents)


def _documents(context: Context, owner: Owner, batch: Row[Any], tiers: Mapping[str, str]) -> Iterator[bytes]:
    """The rows of documents as they were handed in, each on its tier: what was read of them stands in the batch's file."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        file = files.find(session, owner.tenant_id, batch.input_file)
    if file is None:
        raise Conflict(
            "The batch's input file is gone, with what was read of its documents. Submit them again: what was answered is not run."
        )
    with context.blobs.reading(file.blob_key) as source:
        for line in bounded_lines(source, context.settings.max_row_bytes):
            row: dict[str, Any] = orjson.loads(line.content or b"{}")
            if (tier := tiers.get(str(row.get("custom_id")))) is not None:
                body = row["body"]
                body["rightsize"] = {**(body.get("rightsize") or {}), "tier": tier}
                yield orjson.dumps(row)


def _row(job: Row[Any], content: dict[str, Any], tier: str) -> dict[str, Any]:
    """The row as its caller would write it: the stored body, with its hints, on the tier."""
    bounds = orjson.loads(job.features).get("bounds") or {}
    hints: Mapping[str, Any] = {**bounds, **(content.pop("rightsize", None) or {})}
    asked = content.pop(ASKED, None)
    content.pop(ACCEPT, None)
    if job.endpoint == RESPONSES:
        content = {**(asked or {}), "input": _input(content)}
        content.pop("instructions", None)
    task = {"task": job.task} if job.task else {}
    body = {**content, "model": tier, "rightsize": {**hints, **task}}
    return {"custom_id": job.custom_id, "method": "POST", "url": job.endpoint, "body": body}


def _input(chat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a stored chat as the input of a response: whoever asked it wrote them, in this order."""
    return [{"type": "message", **message} for message in chat["messages"]]


def _tier(was: str, wanted: str, fleet: Fleet, bounds: Hints) -> str:
    """The tier that a row runs on now: the one that is named, or the next above that the fleet has and its caller's bounds allow."""
    if wanted != UP:
        return wanted
    if was not in BOUNDED:
        return was
    above = BOUNDED[BOUNDED.index(Tier(was)) + 1 :]
    return next((tier for tier in above if tier in fleet.tiers and not excluded(bounds, tier)), was)
