"""Recover: what was lost on the way is found by the database's clock and put right. Every pass is safe to run twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob, Fault, Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import cancel
from orchestrator.flow.context import Context
from orchestrator.flow.record import Recorder
from orchestrator.lifecycle import after_loss
from orchestrator.store import batches, dispatches, jobs
from orchestrator.store.session import try_lock

MOST_MESSAGES: Final = 4
"""So many messages are sent for a dispatch before its jobs are queued again: nobody serves its queue."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What one pass put right."""

    republished: int = 0
    unclaimed: int = 0
    lost: int = 0
    woken: int = 0
    expired: int = 0


def recover(context: Context) -> Recovered:
    """One pass: messages again, unclaimed and lost dispatches, retries that are due, deadlines that passed."""
    with context.database.unit_of_work() as session:
        if not try_lock(session, "recover"):
            return Recovered()
        due = dispatches.due_for_publishing(session, context.settings.claim_by_s, MOST_MESSAGES)
        unclaimed = _requeue_unclaimed(session)
        lost = _requeue_lost(context, session)
        woken = jobs.wake_waiting(session)
        reached("recover.before_commit")
    republished = _publish(context, due)
    for model in woken:
        context.broker.wake(model)
    if unclaimed or lost:
        context.broker.wake()
    return Recovered(republished, unclaimed, lost, len(woken), _expire(context))


def _publish(context: Context, due: list[dispatches.Published]) -> int:
    """Send messages again; while Redis is away this is tried again at the next pass."""
    fleet = context.config.fleet
    sent = 0
    for one in due:
        model = fleet.by_name.get(one.model)
        if model is None:
            continue
        try:
            context.broker.publish(fleet.queue_of(model, interactive=one.interactive), one.dispatch_id)
        except ServiceUnavailable:
            return sent
        sent += 1
    return sent


def _requeue_unclaimed(session: Session) -> int:
    """Queue the jobs of dispatches that nobody claimed; it never counts as an attempt."""
    ended = []
    for dispatch_id in dispatches.unclaimed(session, MOST_MESSAGES):
        held = dispatches.held_jobs(session, dispatch_id)
        if held is not None:
            dispatches.requeue(session, dispatch_id, [row.id for row in held])
            ended.append(dispatch_id)
    dispatches.end(session, ended, "unclaimed")
    return len(ended)


def _requeue_lost(context: Context, session: Session) -> int:
    """Queue the jobs of dispatches whose lease ended as suspects. Where they ran one by one, the loss counts for the one that ran.

    Those that ran together come back in small groups after their first loss, and one by one after the second.
    """
    ended: list[int] = []
    losses: list[ClaimedJob] = []
    for dispatch_id, one_by_one in dispatches.lost(session):
        held = dispatches.held_jobs(session, dispatch_id)
        if held is None:
            continue
        if one_by_one:
            losses += [_claimed(row, dispatch_id) for row in held[:1]]
        innocent = held[1:] if one_by_one else held
        dispatches.requeue(session, dispatch_id, [row.id for row in innocent], suspect=True, lost=not one_by_one)
        ended.append(dispatch_id)
    dispatches.end(session, ended, "lost")
    _count_losses(context, session, losses)
    return len(ended)


def _count_losses(context: Context, session: Session, losses: Sequence[ClaimedJob]) -> None:
    """Book the losses of all dispatches together: job by job the rows of budgets would be locked in any order."""
    fault = Fault(
        "worker_lost",
        "The worker that ran this request ended without an answer, each time. The request may be what ends it.",
    )
    lost = [(job, after_loss(job.turn, context.limits)) for job in losses]
    Recorder(context).record_losses(session, lost, fault)


def _claimed(row: Row[Any], dispatch_id: int) -> ClaimedJob:
    """A job's row as the worker that lost it held it, without its body."""
    return ClaimedJob(
        id=row.id, public_id=row.public_id.hex, owner=Owner(row.tenant_id, row.project_id, row.api_key_id), batch_id=row.batch_id,
        dispatch_id=dispatch_id, attempt=row.attempts + 1, tier=row.tier, model=row.model, endpoint=row.endpoint, task=row.task,
        price_version=row.price_version, policy_version=row.policy_version, fleet_version=row.fleet_version,
        interactive=row.interactive, deadline=row.deadline, seconds_left=0.0, held_usd=row.held_usd, stored_on=row.stored_on, body=b"",
        earlier_attempts=row.earlier_attempts, is_piece=row.parent_job_id is not None, unbilled=row.unbilled,
    )  # fmt: skip


def _expire(context: Context) -> int:
    """End what is past its deadline and does not run."""
    with context.database.unit_of_work() as session:
        late = batches.past_deadline(session)
    return sum(cancel.sweep_expired(context, batch_id) for batch_id in late) + cancel.expire_singles(context)


def sweep_cancelling(context: Context) -> int:
    """Sweep every batch that was cancelled once it was open."""
    with context.database.unit_of_work() as session:
        cancelling = batches.cancelling(session)
    return sum(cancel.sweep_cancelled(context, batch_id) for batch_id in cancelling)
