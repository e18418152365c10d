"""Lease: what a worker renews while it runs, and what it learns from it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from orchestrator.contracts import ClaimedJob
from orchestrator.flow.context import Context
from orchestrator.store import batches, dispatches, workers
from orchestrator.store.workers import Presence


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat found: the dispatches that are still held, and the jobs that are not to be run any more."""

    held: frozenset[int]
    gone_jobs: frozenset[int]


def beat(
    context: Context,
    worker: UUID,
    presence: Sequence[Presence],
    held: Sequence[int],
    running: Sequence[tuple[int, int]],
) -> Beat:
    """Say that a worker is alive, renew its leases, and learn what was cancelled.

    `held` are its dispatches, also those in which all is done and waits to be recorded; `running` (job, dispatch) pairs.
    """
    with context.database.unit_of_work() as session:
        workers.seen(session, worker, presence, context.versions.fleet)
        still = dispatches.renew(session, held, worker, context.settings.lease_s) if held else set()
        ours = dispatches.still_ours(session, running) if running else set()
    return Beat(frozenset(still), frozenset(job for job, _ in running if job not in ours))


def ended_batches(context: Context, batch_ids: Set[int]) -> Set[int]:
    """Those of the given batches that do not run any more: cancelled, expired or over. What a worker still runs of them is in vain."""
    with context.database.unit_of_work() as session:
        return batches.not_running(session, batch_ids)


def gone_jobs(context: Context, running: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Those of the given (job, dispatch) pairs that are not to be run any more: cancelled, expired or handed on. Changes nothing."""
    with context.database.unit_of_work() as session:
        ours = dispatches.still_ours(session, running)
    return frozenset(job for job, _ in running if job not in ours)


def leave(context: Context, worker: UUID) -> None:
    """Take a worker that stops in order off the list, so that nothing more is sent for it."""
    with context.database.unit_of_work() as session:
        workers.gone(session, worker)


def give_back(
    context: Context, dispatch_id: int, jobs: Sequence[ClaimedJob], suspects: Sequence[ClaimedJob] = ()
) -> None:
    """Queue again, uncounted, the jobs of a dispatch that an orderly stop leaves undone.

    `suspects` were in an engine that died: one of them may have ended it, so that they run in small groups now, or one after the other.
    """
    with context.database.unit_of_work() as session:
        dispatches.requeue(session, dispatch_id, [job.id for job in jobs])
        dispatches.requeue(session, dispatch_id, [job.id for job in suspects], suspect=True, lost=True)
    for model in {job.model for job in (*jobs, *suspects)}:
        context.broker.wake(model)


def let_go(context: Context, dispatch_id: int, worker: UUID) -> None:
    """End a dispatch that this worker has given back, or dropped, in part. What could not be recorded keeps its lease."""
    with context.database.unit_of_work() as session:
        dispatches.end_left(session, dispatch_id, worker)
