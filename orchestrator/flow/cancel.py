"""Cancel: a batch flips at once, then its jobs are swept in chunks; expiry sweeps the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import JobState, Owner
from orchestrator.errors import Conflict, NotFound
from orchestrator.flow import notify
from orchestrator.flow.context import Context
from orchestrator.flow.notify import is_told
from orchestrator.pricing import ZERO
from orchestrator.store import batches, budgets, jobs
from orchestrator.store.batches import Tally
from orchestrator.store.budgets import Payer, Settlement
from orchestrator.store.jobs import Swept

UNSTARTED: Final = (JobState.QUEUED, JobState.WAITING, JobState.GATHERING)
OPEN: Final = (*UNSTARTED, JobState.ASSIGNED)
CANCELLED: Final = ("batch_cancelled", "The batch was cancelled before this request was executed.")
EXPIRED: Final = ("batch_expired", "This request could not be executed before the completion window expired.")
LATE: Final = ("job_expired", "This request could not be executed before its deadline.")


def cancel_batch(context: Context, owner: Owner, public_id: UUID) -> None:
    """Flip a batch to cancelling; its jobs are swept by the orchestrator. Cancelling twice is fine.

    Raises NotFound, or Conflict for a batch that has ended.
    """
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = batches.find(session, owner.tenant_id, public_id)
        if row is None:
            raise NotFound(f"There is no batch {ids.public('batch', public_id)}.")
        if not batches.cancel(session, row.id) and row.status not in ("cancelling", "cancelled"):
            raise Conflict(f"The batch is {row.status} and cannot be cancelled.")
    context.broker.wake("sweep")


def cancel_job(context: Context, owner: Owner, public_id: UUID) -> None:
    """Cancel one job that is no part of a batch, unless it has ended already."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = jobs.find(session, owner.tenant_id, public_id)
        if row is None:
            raise NotFound(f"There is no job {ids.public('job', public_id)}.")
        if row.batch_id:
            raise Conflict("The job is part of a batch: cancel the batch.")
        swept = jobs.sweep_one(session, row.id, JobState.CANCELLED, "cancelled", "The caller cancelled this request.")
        book(session, [swept] if swept else [], JobState.CANCELLED)


def sweep_cancelled(context: Context, batch_id: int) -> int:
    """End every job of a cancelled batch that has not ended; returns how many."""
    return _in_chunks(context, JobState.CANCELLED, lambda s, after: jobs.sweep(
        s, batch_id, JobState.CANCELLED, OPEN, *CANCELLED, after=after))  # fmt: skip


def sweep_expired(context: Context, batch_id: int) -> int:
    """End the jobs of a batch past its deadline that do not run; those that run expire by themselves."""
    return _in_chunks(context, JobState.EXPIRED, lambda s, after: jobs.sweep(
        s, batch_id, JobState.EXPIRED, UNSTARTED, *EXPIRED, after=after))  # fmt: skip


def expire_singles(context: Context) -> int:
    """End jobs outside batches whose deadline passed while they waited."""
    return _in_chunks(context, JobState.EXPIRED, lambda s, _: jobs.expire_singles(s, *LATE))


def _in_chunks(context: Context, into: JobState, sweep: Callable[[Session, int], list[Swept]]) -> int:
    """Sweep chunk by chunk, each its own short transaction, until one is empty."""
    total = after = 0
    while True:
        with context.database.unit_of_work() as session:
            swept = sweep(session, after)
            book(session, swept, into)
        if not swept:
            return total
        total += len(swept)
        after = max(one.id for one in swept)


def book(session: Session, swept: Sequence[Swept], into: JobState) -> None:
    """Count what a sweep ended, tell of jobs that somebody may wait to hear of, and give the holds back."""
    counts: dict[tuple[int, str, str], int] = {}
    released: dict[Payer, Settlement] = {}
    for one in swept:
        if one.batch_id and not one.is_piece:
            key = (one.batch_id, one.tier, one.model)
            counts[key] = counts.get(key, 0) + 1
        payer = (one.owner, one.batch_id)
        released[payer] = released.get(payer, Settlement()).plus(one.held_usd, ZERO)
    batches.add_progress(session, [Tally(*key, into, count) for key, count in counts.items()])
    notify.jobs_ended(session, [(one.owner, one.public_id, into) for one in swept if is_told(one, into)])
    budgets.settle(session, released)
