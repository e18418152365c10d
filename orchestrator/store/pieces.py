"""Documents in pieces: those whose pieces have all ended, and their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import JobState

# Only of open batches: a piece that was there before ends before its batch is open.
DUE: Final = text("""
    SELECT p.id FROM jobs p JOIN batches b ON b.id = p.batch_id
    WHERE p.state = 4 AND p.reused_job_id IS NULL AND b.in_progress_at IS NOT NULL AND b.status IN ('in_progress', 'finalizing')
        AND NOT EXISTS (SELECT FROM jobs c WHERE c.parent_job_id = p.id AND c.level = p.level AND c.state < 10)
    ORDER BY p.id LIMIT :limit
""")
HOLD: Final = text("""
    SELECT j.*, r.features FROM jobs j JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE j.id = :id AND j.state = 4 FOR UPDATE OF j SKIP LOCKED
""")
ANSWERS: Final = text("""
    SELECT c.id, c.state, c.tier, c.model, c.fault_code, c.fault_message, r.body, r.blob_key
    FROM jobs c LEFT JOIN results r ON r.job_id = c.id AND r.stored_on = c.stored_on
    WHERE c.parent_job_id = :id AND c.level = :level ORDER BY c.id
""")
END: Final = text("""
    UPDATE jobs SET state = :state, ended_at = now(), held_usd = 0, fault_code = :code, fault_message = :message, tier = :tier, model = :model
    WHERE id = :id AND state = 4
""")
PUT_RESULT: Final = text("""
    INSERT INTO results (stored_on, job_id, attempt, body, blob_key) VALUES (:stored_on, :id, 0, :body, :blob_key)
""")
QUEUE: Final = text("""
    UPDATE jobs SET state = 1, tier = :tier, model = :model, cascade = :cascade, worst_usd = :worst, prefix_hash = :prefix WHERE id = :id AND state = 4
""")
GO_ON: Final = text("UPDATE jobs SET level = level + 1, pieces = pieces + :more WHERE id = :id AND state = 4")
PUT_BODY: Final = text(
    "UPDATE job_requests SET body = :body, blob_key = :blob_key WHERE job_id = :id AND stored_on = :stored_on"
)


def due(session: Session, *, limit: int = 200) -> list[int]:
    """Documents all of whose pieces have ended."""
    return list(session.execute(DUE, {"limit": limit}).scalars())


def hold(session: Session, job_id: int) -> Row[Any] | None:
    """A document that still waits for its pieces, locked; None where somebody else has it, or it has ended."""
    return session.execute(HOLD, {"id": job_id}).one_or_none()


def answers(session: Session, job_id: int, level: int) -> Sequence[Row[Any]]:
    """What became of the pieces of a level, in their order."""
    return session.execute(ANSWERS, {"id": job_id, "level": level}).all()


def end(
    session: Session, job: Row[Any], state: JobState, *, tier: str, model: str, code: str | None = None, message: str | None = None
) -> None:  # fmt: skip
    """End a document that is held."""
    values = {"id": job.id, "state": int(state), "code": code, "message": message, "tier": tier, "model": model}
    session.execute(END, values)


def put_result(session: Session, job: Row[Any], body: bytes | None, blob_key: str | None) -> None:
    """Store the one answer of a document."""
    session.execute(PUT_RESULT, {"stored_on": job.stored_on, "id": job.id, "body": body, "blob_key": blob_key})


def queue(session: Session, job: Row[Any], asked: Any) -> None:
    """Queue a document itself, to be asked for the one answer; `asked` is the job as it would be made anew."""
    values = {
        "id": job.id, "tier": asked.tier, "model": asked.model, "cascade": " ".join(asked.cascade) or None, "worst": asked.worst_usd,
        "prefix": asked.prefix_hash,
    }  # fmt: skip
    session.execute(QUEUE, values)
    session.execute(
        PUT_BODY, {"id": job.id, "stored_on": job.stored_on, "body": asked.body, "blob_key": asked.blob_key}
    )


def go_on(session: Session, job: Row[Any], more: int) -> None:
    """Let a document that is held wait for its next level, of `more` jobs that were just put in."""
    session.execute(GO_ON, {"id": job.id, "more": more})
