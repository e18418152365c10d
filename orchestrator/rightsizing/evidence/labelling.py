"""Label: people say what the right answers of a task's jobs are, by file or one by one, and whether an answer was good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from orchestrator import ids
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.flow.context import Context
from orchestrator.learned.terms import text_sha256
from orchestrator.rightsizing.evidence.answers import answer_of, asked_text, unknown_labels
from orchestrator.rightsizing.evidence.bodies import GONE, body_of
from orchestrator.rightsizing.evidence.seen import WINDOW_DAYS
from orchestrator.rightsizing.training.labels import read_given
from orchestrator.store.rightsizing import certificates, labels
from orchestrator.store.rightsizing.labels import NewLabel

CHUNK: Final = 1_000
MOST_SHOWN: Final = 5
OF_A_JOB: Final = ("job", "req", "batch_req", "resp")


def label_file(
    context: Context, tenant_id: int, task: str, file: Path, job_column: str, label_column: str, *, given_by: str
) -> dict[str, Any]:
    """Store the labels of a CSV file with a job's id and a label a line; raises InvalidRequest that names what does not fit."""
    names, given, blank = read_given(file, job_column, label_column)
    pairs = [(_job(name.strip()), one) for name, one in zip(names, given, strict=True)]
    chunks = [_chunk(context, tenant_id, task, pairs[start : start + CHUNK]) for start in range(0, len(pairs), CHUNK)]
    with context.database.unit_of_work() as session:  # all of it or nothing
        stored = sum(labels.put(session, tenant_id, chunk, source="label", given_by=given_by) for chunk in chunks)
        trained = certificates.trained(session, tenant_id, task)
    known = () if trained is None else (trained.training or {}).get("labels", ())
    return {"task": task, "labels": stored, "without_a_label": blank, "unknown_labels": unknown_labels(known, given)}


def _job(name: str) -> UUID:
    """A job by its id, or by that of its line or of its answer: the three have the same digits."""
    prefix, _, digits = name.rpartition("_")
    return ids.parse("job", f"job_{digits}" if prefix in OF_A_JOB else name)


def _chunk(context: Context, tenant_id: int, task: str, pairs: list[tuple[UUID, str]]) -> list[NewLabel]:
    """Some of the labels, each with the hash of its job's text."""
    with context.database.unit_of_work() as session:
        found = labels.jobs(session, tenant_id, [job for job, _ in pairs])
    strange = [job for job, _ in pairs if job not in found or found[job].task != task or found[job].forgotten_at]
    if strange:
        shown = ", ".join(ids.public("job", job) for job in strange[:MOST_SHOWN])
        raise InvalidRequest(
            f"{len(strange)} of the jobs are none of task {task}, or forgotten: {shown}. Nothing of the file was stored. Give the ids that "
            "`rightsize results` shows.",
            param="labels",
        )
    return [NewLabel(job, _hash(context, found[job]), one) for job, one in pairs]


def draw_to_label(context: Context, tenant_id: int, task: str, n: int) -> list[dict[str, str]]:
    """Answered jobs of a task, drawn at random for people to label; raises InvalidRequest where there are none left."""
    since = datetime.now(UTC) - timedelta(days=WINDOW_DAYS)
    with context.database.unit_of_work() as session:
        found = labels.draw(session, tenant_id, task, since, n)
    if not found:
        raise InvalidRequest(
            f"No job of task {task} was answered in the last {WINDOW_DAYS} days that was not drawn and labelled before. Submit work with `--task {task}`.",
            param="task",
        )
    return [
        {
            "job": ids.public("job", row.public_id), "text": asked_text(body_of(context, row.request, row.request_key) or GONE),
            "answer": answer_of(body_of(context, row.answer, row.answer_key) or GONE) or "", "label": row.label or "",
        }
        for row in found
    ]  # fmt: skip


def give_feedback(
    context: Context, tenant_id: int, job: UUID, *, good: bool | None, label: str | None, given_by: str
) -> None:
    """Store what a caller says of an answer; raises NotFound for a job that is not the tenant's, Conflict for one without a task."""
    with context.database.unit_of_work(tenant_id) as session:
        found = labels.jobs(session, tenant_id, [job]).get(job)
    if found is None:
        raise NotFound(f"There is no job {ids.public('job', job)}.")
    if found.task is None:
        raise Conflict(
            "The job has no task, so nothing could learn from it. Name one in `rightsize.task` when you submit.",
            param="task",
        )
    if found.forgotten_at is not None:
        raise Conflict(
            "The job's document was forgotten, and what is said of it with it: there is nothing left to learn from."
        )
    new = NewLabel(job, _hash(context, found), label, good)
    with context.database.unit_of_work(tenant_id) as session:
        labels.put(session, tenant_id, [new], source="feedback", given_by=given_by)


def _hash(context: Context, row: Row[Any]) -> bytes:
    return text_sha256(asked_text(body_of(context, row.body, row.blob_key) or GONE))
