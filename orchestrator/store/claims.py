"""Claims in groups: interactive dispatches, each of a job or few, that wait for a worker at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import ClaimedJob
from orchestrator.store.dispatches import CLAIMED, Claim, claimed_job

CLAIM_NOW: Final = text("""
    UPDATE dispatches SET worker_id = :worker, claimed_at = now(), lease_until = now() + make_interval(secs => :lease)
    WHERE id IN (
        SELECT id FROM dispatches WHERE id = ANY(CAST(:dispatches AS bigint[])) AND claimed_at IS NULL AND ended_at IS NULL
            AND interactive AND NOT alone AND NOT one_by_one
        ORDER BY id FOR UPDATE SKIP LOCKED
    ) RETURNING id, model, size, interactive, alone, one_by_one, set_config('synchronous_commit', 'off', true)
""")
UNCLAIMED_OF: Final = text("""
    SELECT id FROM dispatches WHERE id = ANY(CAST(:dispatches AS bigint[])) AND claimed_at IS NULL AND ended_at IS NULL
""")
JOBS_NOW: Final = text(f"""
    SELECT d.id AS held_by, {CLAIMED}
    FROM dispatches d CROSS JOIN unnest(d.job_ids) AS x(id)
    JOIN jobs j ON j.id = x.id AND j.dispatch_id = d.id AND j.state = 2
    JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE d.id = ANY(CAST(:dispatches AS bigint[])) ORDER BY d.id
""")


def claim_many(session: Session, dispatch_ids: Sequence[int], worker: UUID, lease_s: float) -> list[Claim]:
    """Start a worker's lease on those of some interactive dispatches that are free and hold no suspects; as `claim` does."""
    values = {"dispatches": list(dispatch_ids), "worker": worker, "lease": lease_s}
    return [
        Claim(row.id, row.model, row.size, row.interactive, row.alone, row.one_by_one)
        for row in session.execute(CLAIM_NOW, values)
    ]


def unclaimed_of(session: Session, dispatch_ids: Sequence[int]) -> list[int]:
    """Those of some dispatches that nobody has claimed and that have not ended."""
    return list(session.execute(UNCLAIMED_OF, {"dispatches": list(dispatch_ids)}).scalars())


def jobs_of(session: Session, dispatch_ids: Sequence[int]) -> dict[int, list[tuple[ClaimedJob, str | None]]]:
    """The jobs of claimed interactive dispatches, as `claimed_jobs` gives those of one."""
    found: dict[int, list[tuple[ClaimedJob, str | None]]] = {}
    for row in session.execute(JOBS_NOW, {"dispatches": list(dispatch_ids)}):
        found.setdefault(row.held_by, []).append((claimed_job(row, row.held_by), row.blob_key))
    return found
