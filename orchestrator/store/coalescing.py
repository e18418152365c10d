"""Jobs that wait for a result that another job is making: who is making it, and who waits no longer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import JobState
from orchestrator.store.reuse import Reused

# Of a batch that is paused, or stopped at its cap, nobody knows when it goes on; and one that may end much later than its follower, by more
# than a tenth of the follower's time, would let that expire.
MAKERS: Final = text("""
    SELECT DISTINCT ON (j.reuse_key) j.reuse_key, j.id, j.public_id FROM jobs j JOIN batches b ON b.id = j.batch_id
    WHERE j.tenant_id = :tenant AND j.reuse_key = ANY(CAST(:keys AS bytea[])) AND j.state IN (1, 2, 3, :done) AND j.id <> :but
        AND (:only = 0 OR j.batch_id = :only)
        AND (j.state = 10 OR j.deadline <= :deadline + (:deadline - now()) / 10 AND b.status IN ('validating', 'in_progress')
            AND b.paused_at IS NULL AND b.held_back IS NULL)
    ORDER BY j.reuse_key, j.id
""")
# Who looks and finds nobody makes it himself: two of a tenant must not look at once.
ALONE: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('coalesce:' || :tenant, 0))")
DUE: Final = text("""
    SELECT f.id FROM jobs f JOIN batches b ON b.id = f.batch_id
    LEFT JOIN jobs m ON m.id = f.reused_job_id AND m.state < 10 LEFT JOIN batches o ON o.id = m.batch_id
    WHERE f.state = 4 AND f.reused_job_id IS NOT NULL AND b.in_progress_at IS NOT NULL AND b.status IN ('in_progress', 'finalizing')
        AND (m.id IS NULL OR o.paused_at IS NOT NULL OR o.held_back IS NOT NULL)
    ORDER BY f.id LIMIT :limit
""")
# Batches of documents of which nothing is begun for now.
STANDING: Final = text("""
    SELECT id FROM batches WHERE status = 'in_progress' AND (paused_at IS NOT NULL OR held_back IS NOT NULL)
        AND hints ->> 'task_version' IS NOT NULL AND hints ->> 'refresh' IS DISTINCT FROM 'true' ORDER BY id LIMIT 100
""")
ANSWERED: Final = text("""
    WITH looked_at AS MATERIALIZED (
        SELECT id, tenant_id, reuse_key FROM jobs WHERE batch_id = :batch AND batch_id <> 0 AND state = 1 AND id > :after
        ORDER BY id LIMIT :limit
    )
    SELECT l.id, (
        SELECT m.id FROM jobs m JOIN results r ON r.job_id = m.id AND r.stored_on = m.stored_on
        WHERE m.tenant_id = l.tenant_id AND m.reuse_key = l.reuse_key AND m.state = 10 ORDER BY m.id DESC LIMIT 1
    ) AS maker FROM looked_at l ORDER BY l.id
""")
JOIN: Final = text("""
    WITH held AS (SELECT id, held_usd FROM jobs WHERE id = :id AND state = 1 FOR UPDATE SKIP LOCKED)
    UPDATE jobs SET state = 4, reused_job_id = :maker, held_usd = 0 FROM held WHERE jobs.id = held.id
    RETURNING jobs.tenant_id, jobs.project_id, jobs.api_key_id, jobs.batch_id, held.held_usd
""")
WAIT_FOR: Final = text("UPDATE jobs SET reused_job_id = :maker WHERE id = :id AND state = 4")
QUEUE: Final = text("UPDATE jobs SET state = 1, reused_job_id = NULL WHERE id = :id AND state = 4")
TAKE: Final = text("""
    UPDATE jobs SET state = 10, ended_at = now(), rule = 'reused', tier = :tier, model = :model, reused_job_id = :maker
    WHERE id = :id AND state = 4
""")
TELL: Final = text("UPDATE job_requests SET reasons = :reasons WHERE job_id = :id AND stored_on = :stored_on")


def makers(
    session: Session,
    tenant_id: int,
    keys: Sequence[bytes],
    deadline: datetime,
    *,
    done: bool,
    but: int = 0,
    only_batch: int | None = None,
) -> dict[bytes, Row[Any]]:
    """By key, the first job that is making that result just now and has to be done by about `deadline`; with `done` also one that has made it."""
    state = JobState.SUCCEEDED if done else JobState.QUEUED
    session.execute(ALONE, {"tenant": str(tenant_id)})
    values = {
        "tenant": tenant_id,
        "keys": list(keys),
        "deadline": deadline,
        "done": int(state),
        "but": but,
        "only": only_batch or 0,
    }
    return {bytes(row.reuse_key): row for row in session.execute(MAKERS, values)}


def due(session: Session, *, limit: int = 200) -> list[int]:
    """Jobs that wait for one that has ended, or that may not go on for long."""
    return list(session.execute(DUE, {"limit": limit}).scalars())


def wait_for(session: Session, job_id: int, maker_id: int) -> None:
    """Let a job that is held wait for another maker."""
    session.execute(WAIT_FOR, {"id": job_id, "maker": maker_id})


def queue(session: Session, job_id: int) -> None:
    """Queue a job that is held: nobody makes its result any more."""
    session.execute(QUEUE, {"id": job_id})


def take(session: Session, job: Row[Any], found: Reused, reasons: str) -> None:
    """End a job that is held with the result of another."""
    session.execute(TAKE, {"id": job.id, "tier": found.tier, "model": found.model, "maker": found.job_id})
    session.execute(TELL, {"id": job.id, "stored_on": job.stored_on, "reasons": reasons})


def standing(session: Session) -> list[int]:
    """Batches of documents that are paused, or stopped at their cap."""
    return list(session.execute(STANDING).scalars())


def answered(session: Session, batch_id: int, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """A page of a batch's queued jobs, each with the job that has made its result meanwhile, if any has."""
    return session.execute(ANSWERED, {"batch": batch_id, "after": after, "limit": limit}).all()


def join(session: Session, job_id: int, maker_id: int) -> Row[Any] | None:
    """Let a queued job wait for a result; what it held, and whose it is. None where it is queued no more."""
    return session.execute(JOIN, {"id": job_id, "maker": maker_id}).one_or_none()
