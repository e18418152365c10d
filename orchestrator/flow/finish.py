"""Finish: a batch whose last job ended gets its output and error files and its final counts, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Row

from orchestrator import ids
from orchestrator.contracts import SIMULATED_BODY, BatchStatus, JobState, Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import Broken
from orchestrator.flow import notify
from orchestrator.flow.cancel import EXPIRED
from orchestrator.flow.context import Context, one_batch
from orchestrator.flow.read import drop_rows
from orchestrator.store import batches, budgets, files, jobs
from orchestrator.store.files import NewFile

PAGE: Final = 1_000
SUCCEEDED: Final = JobState.SUCCEEDED


def finish_ended(context: Context) -> int:
    """Finish every batch all of whose jobs have ended, each guarded by an advisory lock; returns how many."""
    with context.database.unit_of_work() as session:
        ended = batches.ended(session)
        unopened = batches.cancelled_before_open(session)
    done = 0
    for batch_id, status in ended:
        with one_batch(context, "finish", batch_id) as ours:
            done += bool(ours and _finish(context, batch_id, status))
    for batch_id in unopened:
        with one_batch(context, "read", batch_id) as ours:
            done += bool(ours and _end_unopened(context, batch_id))
    return done


def _finish(context: Context, batch_id: int, status: BatchStatus) -> bool:
    """Write both files under the batch's own keys, then end it: files that a killed finisher left are simply written again."""
    if status is BatchStatus.IN_PROGRESS:
        with context.database.unit_of_work() as session:
            batches.start_finalizing(session, batch_id)
    with context.database.unit_of_work() as session:
        row = batches.get(session, batch_id)
        progress = batches.progress(session, batch_id)
    counts = _counts(progress)
    written = {
        purpose: _write(context, row, purpose)
        for purpose, wanted in (("output", counts[SUCCEEDED]), ("error", sum(counts.values()) - counts[SUCCEEDED]))
        if wanted
    }
    lines = sum(lines for _, _, lines in written.values())
    if row.retry_of is not None:
        written["merged"] = _merged(context, row, written.get("output"))
    if lines != row.total:
        raise Broken(f"Batch {row.public_id} has {row.total} rows and {lines} lines. This is a bug: report it.")
    reached("finish.after_files")
    ends_as = _ends_as(BatchStatus(row.status), counts)
    owner = Owner(row.tenant_id, row.project_id, row.api_key_id)
    with context.database.unit_of_work() as session:
        made = {
            purpose: files.add(
                session, owner, ids.uuid7(),
                NewFile("batch_output", f"{ids.public('batch', row.public_id)}_{purpose}.jsonl", size, key, row.output_expires_s),
            ).id
            for purpose, (key, size, _) in written.items()
        }  # fmt: skip
        budgets.drop_batch(session, batch_id)
        ended = batches.end(session, batch_id, ends_as, summary(progress), made)
        if ended:
            notify.batch_ended(session, owner, row.public_id, ends_as)
        return ended


def _ends_as(status: BatchStatus, counts: Counter[JobState]) -> BatchStatus:
    if status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if counts[JobState.EXPIRED] else BatchStatus.COMPLETED


def _end_unopened(context: Context, batch_id: int) -> bool:
    """End a batch that was cancelled while its rows were read: none of them was accepted."""
    drop_rows(context, batch_id)
    with context.database.unit_of_work() as session:
        row = batches.get(session, batch_id)
        ended = batches.end(session, batch_id, BatchStatus.CANCELLED, summary([]), {})
        if ended:
            owner = Owner(row.tenant_id, row.project_id, row.api_key_id)
            notify.batch_ended(session, owner, row.public_id, BatchStatus.CANCELLED)
        return ended


def _counts(progress: Sequence[Row[Any]]) -> Counter[JobState]:
    counts: Counter[JobState] = Counter()
    for row in progress:
        counts[JobState(row.state)] += row.jobs
    return counts


def summary(progress: Sequence[Row[Any]]) -> dict[str, Any]:
    """Counts, usage and charges of a batch from its progress, in the form that is frozen and shown."""
    counts = _counts(progress)
    by_tier: dict[str, dict[str, Any]] = {}
    for row in progress:
        tier = by_tier.setdefault(row.tier, {"completed": 0, "failed": 0, "cost_usd": 0})
        tier["completed" if row.state == SUCCEEDED else "failed"] += row.jobs
        tier["cost_usd"] += row.charge_usd
    for tier in by_tier.values():
        tier["cost_usd"] = f"{tier['cost_usd']:f}"
    tokens = {name: sum(getattr(row, name) for row in progress) for name in (
        "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")}  # fmt: skip
    return {
        "total": sum(counts.values()),
        "completed": counts[SUCCEEDED],
        "failed": sum(counts.values()) - counts[SUCCEEDED],
        "states": {state.label: count for state, count in counts.items()},
        "usage": tokens,
        "cost_usd": f"{sum((row.charge_usd for row in progress), start=0):f}" if progress else "0",
        "tiers": by_tier,
        "models": sorted({row.model for row in progress}),
    }


def _write(context: Context, row: Row[Any], purpose: str) -> tuple[str, int, int]:
    """Write one of a batch's files; returns its key, its size in bytes and its number of lines."""
    key = f"batches/{row.public_id.hex}/{purpose}.jsonl"
    lines = 0
    with context.blobs.writing(key) as file:
        for line in _lines(context, row.id, purpose):
            lines += 1
            file.write(line)
        size = file.tell()
    return key, size, lines


def _merged(context: Context, row: Row[Any], own: tuple[str, int, int] | None) -> tuple[str, int, int]:
    """The output of the batch that this one retries, and its own: only failed rows run again, so that no custom_id is there twice."""
    with context.database.unit_of_work() as session:
        first = batches.outputs(session, row.retry_of)
    key = f"batches/{row.public_id.hex}/merged.jsonl"
    lines = 0
    with context.blobs.writing(key) as file:
        for source in (first, own[0] if own else None):
            if source:
                with context.blobs.reading(source) as found:
                    for line in found:
                        lines += 1
                        file.write(line)
        size = file.tell()
    return key, size, lines


def _lines(context: Context, batch_id: int, purpose: str) -> Iterator[bytes]:
    after = 0
    while True:
        with context.database.unit_of_work() as session:
            page = jobs.ended_lines(session, batch_id, succeeded=purpose == "output", after=after, limit=PAGE)
        for row in page:
            yield output_line(row, context.blobs.get(row.blob_key) if row.blob_key else row.body)
        if len(page) < PAGE:
            return
        after = page[-1].id


def output_line(row: Row[Any], body: bytes | None) -> bytes:
    """One line of an output or error file, in OpenAI's form with our `rightsize` object. The body goes in as it was stored."""
    head = (
        b'{"id":'
        + orjson.dumps(ids.public("batch_req", row.public_id))
        + b',"custom_id":'
        + orjson.dumps(row.custom_id)
    )
    note = orjson.dumps(
        {
            **_about(row),
            "tier": row.tier, "model": row.model, "rule": row.rule, "reasons": row.reasons.split("\n"),
            "attempts": row.attempts, "cost_usd": f"{row.charge_usd:f}", "simulated": row.simulated or _was_simulated(row, body),
            "engine_s": row.engine_s,
        }
    )  # fmt: skip
    if row.state == SUCCEEDED and body is not None:
        request_id = orjson.dumps(f"req_{row.public_id.hex}")
        response = b',"response":{"status_code":200,"request_id":' + request_id + b',"body":' + body + b'},"error":null'
    else:
        late = row.state == JobState.EXPIRED  # whether it waited or ran: OpenAI has one code and one sentence for both
        code, message = EXPIRED if late else (row.fault_code, row.fault_message)
        error = {"code": code or "unknown", "message": message or "The request failed."}
        response = b',"response":null,"error":' + orjson.dumps(error)
    return head + response + b',"rightsize":' + note + b"}\n"


def _was_simulated(row: Row[Any], body: bytes | None) -> bool:
    """Whether a result that was taken over is a simulated model's: no attempt of this job says so, and the body does."""
    return row.reused_job_id is not None and body is not None and SIMULATED_BODY in body


def _about(row: Row[Any]) -> dict[str, Any]:
    """What a line says of a job of a document: the document, its task's version, whether its result was there before, and why it has none."""
    if row.task_version is None:
        return {}
    note: dict[str, Any] = {"task": row.task, "task_version": row.task_version, "reused": row.reused_job_id is not None}
    if (document := orjson.loads(row.features).get("document")) is not None:
        note["document"] = document
    if row.pieces:
        note["pieces"] = row.pieces
    if row.detail is not None and row.state != SUCCEEDED:
        note |= orjson.loads(row.detail)
    return note
