"""Coalesce: of equal documents that are asked at the same time one is answered, and the others wait for its result.

Without it a command that was killed and given again would pay for everything that its first batch still works on, and a folder that
holds a document twice would pay for it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from orchestrator.store import batches, budgets, coalescing, pieces
from orchestrator.store.batches import Tally
from orchestrator.store.budgets import Settlement
from orchestrator.store.jobs import NewJob

PAGE: Final = 1_000
WAITS: Final = "The same document is being answered by {job}: its result is waited for, and nothing is charged."


def coalesced(
    session: Session, owner: Owner, made: Sequence[NewJob], deadline: datetime, *, only_batch: int | None = None
) -> list[NewJob]:  # fmt: skip
    """Some jobs that are about to be stored: those whose result is being made by another, or by one before them, wait for it.

    With `only_batch` another of that batch alone: what others made is not wanted.
    """
    keys = {job.reuse_key for job in made if _may_wait(job)}
    if not keys:
        return list(made)
    # One that has made it meanwhile, since these were prepared, counts as well.
    wanted = [key for key in keys if key]
    found = coalescing.makers(session, owner.tenant_id, wanted, deadline, done=True, only_batch=only_batch)
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


@dataclass(slots=True)
class Rejoining:
    """Looks again for results of jobs that stand still: another batch may have made them since."""

    context: Context
    _after: dict[int, int] = field(default_factory=dict)
    """How far each batch was looked through."""

    def look(self) -> int:
        """Look through a page of each batch that is paused or stopped; returns how many jobs have a result."""
        with self.context.database.unit_of_work() as session:
            standing = coalescing.standing(session)
        self._after = {batch: self._after.get(batch, 0) for batch in standing}
        return sum(map(self._page, standing))

    def _page(self, batch_id: int) -> int:
        with self.context.database.unit_of_work() as session:
            page = coalescing.answered(session, batch_id, after=self._after[batch_id], limit=PAGE)
        self._after[batch_id] = page[-1].id if len(page) == PAGE else 0
        found = [row for row in page if row.maker is not None]
        for row in found:
            with self.context.database.unit_of_work() as session:
                job = coalescing.join(session, row.id, row.maker)
                if job is not None:
                    payer = (Owner(job.tenant_id, job.project_id, job.api_key_id), job.batch_id)
                    budgets.settle(session, {payer: Settlement(released_usd=job.held_usd)})
        return len(found)


def _settle(context: Context, session: Session, job: Row[Any]) -> None:
    """Take the result over; where there is none wait for whoever makes it by now, and be the next to make it otherwise."""
    key = bytes(job.reuse_key)
    result = taken_over(context, job.tenant_id, key, job.public_id.hex)
    anew = bool(batches.get(session, job.batch_id).hints.get("refresh"))
    if result is not None and not (
        anew and result.job_id < job.reused_job_id
    ):  # one of before is not what was asked for
        coalescing.take(session, job, result, told_of(result))
        pieces.put_result(session, job, result.body, result.blob_key)
        if job.parent_job_id is None:
            tally = Tally(job.batch_id, result.tier, result.model, JobState.SUCCEEDED, 1)
            batches.add_progress(session, [tally])
        return
    maker = coalescing.makers(
        session, job.tenant_id, [key], job.deadline, done=False, but=job.id, only_batch=job.batch_id if anew else None
    ).get(key)
    if maker is None:
        coalescing.queue(session, job.id)
    else:
        coalescing.wait_for(session, job.id, maker.id)
