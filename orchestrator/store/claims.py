"""Claims in groups: interactive dispatches, each of a job or few, that wait for a worker at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob
from orchestrator.store.dispatches import CLAIMED, Claim, claimed_job
from orchestrator.store.session import Database

CLAIM_NOW: Final = text(f"""
    WITH ours AS (
        UPDATE dispatches SET worker_id = :worker, claimed_at = now(), lease_until = now() + make_interval(secs => :lease)
        WHERE id IN (
            SELECT id FROM dispatches WHERE id = ANY(CAST(:dispatches AS bigint[])) AND claimed_at IS NULL AND ended_at IS NULL
                AND interactive AND NOT alone AND NOT one_by_one
            ORDER BY id FOR UPDATE SKIP LOCKED
        ) RETURNING id, model, size, job_ids, set_config('synchronous_commit', 'off', true)
    )
    SELECT ours.id AS held_by, ours.model AS held_for, ours.size, {CLAIMED}
    FROM ours LEFT JOIN (
        unnest(ours.job_ids) AS x(id)
        JOIN jobs j ON j.id = x.id AND j.state = 2
        JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
    ) ON j.dispatch_id = ours.id
    ORDER BY ours.id
""")
UNCLAIMED_OF: Final = text("""
    SELECT id FROM dispatches WHERE id = ANY(CAST(:dispatches AS bigint[])) AND claimed_at IS NULL AND ended_at IS NULL
""")


def claim_many(
    database: Database, dispatch_ids: Sequence[int], worker: UUID, lease_s: float
) -> dict[int, tuple[Claim, list[tuple[ClaimedJob, str | None]]]]:
    """Start a worker's lease on those of some interactive dispatches that are free and hold no suspects; as `claim` does.

    Returns each with its jobs as `claimed_jobs` gives them: none where they have all ended. One statement, committed by itself.
    """
    values = {"dispatches": list(dispatch_ids), "worker": worker, "lease": lease_s}
    found: dict[int, tuple[Claim, list[tuple[ClaimedJob, str | None]]]] = {}
    for row in database.at_once(CLAIM_NOW, values):
        claim = Claim(row.held_by, row.held_for, row.size, interactive=True, alone=False, one_by_one=False)
        _, jobs = found.setdefault(row.held_by, (claim, []))
        if row.id is not None:
            jobs.append((claimed_job(row, row.held_by), row.blob_key))
    return found


def unclaimed_of(session: Session, dispatch_ids: Sequence[int]) -> list[int]:
    """Those of some dispatches that nobody has claimed and that have not ended."""
    return list(session.execute(UNCLAIMED_OF, {"dispatches": list(dispatch_ids)}).scalars())
