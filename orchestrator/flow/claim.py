"""Claim: a worker takes a dispatch, which starts its lease, and reads all its bodies at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from orchestrator.contracts import ClaimedJob
from orchestrator.crashpoints import reached
from orchestrator.errors import NotFound, ServiceUnavailable
from orchestrator.flow.context import Context
from orchestrator.store import claims, dispatches
from orchestrator.store.dispatches import Claim
from orchestrator.telemetry import log


@dataclass(frozen=True, slots=True)
class Claimed:
    """A dispatch that this worker holds, and the jobs in it that are still to be run."""

    claim: Claim
    jobs: Sequence[ClaimedJob]
    apart: Sequence[tuple[ClaimedJob, str]] = ()
    """Those whose bodies are still to be read from the blob store, under these keys."""


AT_ONCE: Final = 8
"""Large bodies that are read at the same time."""
SUSPECT: Final = "suspect"
"""Said of a dispatch that must run alone: its jobs were in a dispatch that was lost, and one may be what ends workers."""


def claim(
    context: Context, dispatch_id: int, worker: UUID, *, alone: bool = False
) -> Claimed | Literal["suspect"] | None:
    """Claim a dispatch, or None if it is cancelled, finished or somebody else's: a message may come twice or late.

    A suspect is only claimed with `alone`, by a worker that claims no other suspect until it is done; otherwise SUSPECT comes
    back. A dispatch whose jobs were all cancelled meanwhile is ended here.
    """
    reached("claim.before")
    with context.database.unit_of_work() as session:
        found = dispatches.claim(session, dispatch_id, worker, context.settings.lease_s, alone=alone)
        if found is None:
            return SUSPECT if not alone and dispatches.is_suspect(session, dispatch_id) else None
        rows = dispatches.claimed_jobs(session, dispatch_id)
        if not rows:
            dispatches.end(session, [dispatch_id], "done")
            return None
    reached("claim.after_commit")
    claimed = _of(found, rows)
    return claimed if fetch(context, claimed) else None


def claim_many(context: Context, dispatch_ids: Sequence[int], worker: UUID) -> tuple[list[Claimed], list[int]]:
    """Claim those of some interactive dispatches that are free, in one statement; large bodies are left for `fetch`.

    Also returns those that are still to be claimed, one by one: suspects, and bulk work.
    """
    reached("claim.before")
    found = claims.claim_many(context.database, dispatch_ids, worker, context.settings.lease_s)
    missed = [dispatch_id for dispatch_id in dict.fromkeys(dispatch_ids) if dispatch_id not in found]
    idle = [dispatch_id for dispatch_id, (_, jobs) in found.items() if not jobs]
    left: list[int] = []
    if missed or idle:
        try:
            with context.database.unit_of_work() as session:
                left = claims.unclaimed_of(session, missed)
                dispatches.end(session, idle, "done")
        except ServiceUnavailable:
            left = missed  # what was claimed runs all the same
    reached("claim.after_commit")
    return [_of(one, jobs) for one, jobs in found.values() if jobs], left


def _of(claim: Claim, rows: Sequence[tuple[ClaimedJob, str | None]]) -> Claimed:
    apart = [(job, blob_key) for job, blob_key in rows if blob_key is not None]
    return Claimed(claim, [job for job, _ in rows], apart)


def fetch(context: Context, claimed: Claimed) -> bool:
    """Read the large bodies of a claimed dispatch; False where it was given back, since their store is away."""
    return not claimed.apart or _fetched(context, claimed.claim.dispatch_id, claimed.apart)


def _fetched(context: Context, dispatch_id: int, apart: Sequence[tuple[ClaimedJob, str]]) -> bool:
    """Read large bodies, some at a time: the lease runs meanwhile. While their store is away the jobs go back uncounted: False."""
    try:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rightsize-bodies") as pool:
            bodies = list(pool.map(lambda one: _body(context, one[1]), apart))
    except ServiceUnavailable as error:
        log("blobs_away", logging.WARNING, detail=error.message, dispatch=dispatch_id)
        with context.database.unit_of_work() as session:
            dispatches.requeue(session, dispatch_id, [job.id for job, _ in apart])
            left = dispatches.claimed_jobs(session, dispatch_id)
            dispatches.requeue(session, dispatch_id, [job.id for job, _ in left])
            dispatches.end(session, [dispatch_id], "given_back")
        return False
    for (job, _), body in zip(apart, bodies, strict=True):
        job.body = body
    return True


def _body(context: Context, blob_key: str) -> bytes:
    """A large body from the blob store; one that is gone becomes an empty body, which fails its job with a clear reason."""
    try:
        return context.blobs.get(blob_key)
    except NotFound:
        return b""
