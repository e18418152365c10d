"""Coalesce: of equal documents that are asked at the same time one is answered, and the others wait for its result.

Without it a command that was killed and given again would pay for everything that its first batch still works on, and a folder that
holds a document twice would pay for it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import JobState, Owner
from orchestrator.crashpoints import reached
from orchestrator.flow.context import Context
from orchestrator.flow.documents import taken_over, told_of
from orchestrator.pricing import ZERO
from orchestrator.store import batches, coalescing, pieces
from orchestrator.store.batches import Tally
from orchestrator.store.jobs import NewJob

WAITS: Final = "The same document is being answered by {job}: its result is waited for, and nothing is charged."


def coalesced(session: Session, owner: Owner, made: Sequence[NewJob], deadline: datetime) -> list[NewJob]:
    """Some jobs that are about to be stored: those whose result is being made by another, or by one before them, wait for it."""
    keys = {job.reuse_key for job in made if _may_wait(job)}
    if not keys:
        return list(made)
    # One that has made it meanwhile, since these were prepared, counts as well.
    found = coalescing.makers(session, owner.tenant_id, [key for key in keys if key], deadline, done=True)
    first: dict[bytes, tuple[int | str, str]] = {key: (row.id, row.public_id.hex) for key, row in found.items()}
    return [_waiting(job, first) if _may_wait(job) else job for job in made]


def _may_wait(job: NewJob) -> bool:
    return job.reuse_key is not None and job.state is JobState.QUEUED


def _waiting(job: NewJob, first: dict[bytes, tuple[int | str, str]]) -> NewJob:
    """The job, waiting where its result is being made; otherwise it is the one that makes it."""
    maker, public_id = first.setdefault(job.reuse_key or b"", (job.public_id, job.public_id))
    if public_id == job.public_id:
        return job
    told = WAITS.format(job=ids.public("job", public_id))
    return replace(job, state=JobState.GATHERING, follows=maker, held_usd=ZERO, reasons=told)


def coalesce_due(context: Context) -> int:
    """End or queue every job whose maker has ended, each in a transaction of its own; returns how many."""
    with context.database.unit_of_work() as session:
        found = coalescing.due(session)
    done = 0
    for job_id in found:
        with context.database.unit_of_work() as session:
            job = pieces.hold(session, job_id)
            if job is not None:
                _settle(context, session, job)
                done += 1
            reached("coalesce.before_commit")
    if done:
        context.broker.wake()
    return done


def _settle(context: Context, session: Session, job: Row[Any]) -> None:
    """Take the result over; where there is none wait for whoever makes it by now, and be the next to make it otherwise."""
    key = bytes(job.reuse_key)
    result = taken_over(context, job.tenant_id, key, job.public_id.hex)
    if result is not None:
        coalescing.take(session, job, result, told_of(result))
        pieces.put_result(session, job, result.body, result.blob_key)
        if job.parent_job_id is None:
            tally = Tally(job.batch_id, result.tier, result.model, JobState.SUCCEEDED, 1)
            batches.add_progress(session, [tally])
        return
    maker = coalescing.makers(session, job.tenant_id, [key], job.deadline, done=False, but=job.id).get(key)
    if maker is None:
        coalescing.queue(session, job.id)
    else:
        coalescing.wait_for(session, job.id, maker.id)
