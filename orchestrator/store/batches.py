"""Batches: their row, their progress, their end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import BatchStatus, JobState, Owner

ADD: Final = text("""
    INSERT INTO batches (public_id, tenant_id, project_id, api_key_id, status, endpoint, completion_window, input_file_id,
        metadata, hints, max_cost_usd, retry_of, output_expires_s, deadline)
    VALUES (:public_id, :tenant, :project, :key, 'validating', :endpoint, :window, :input_file, CAST(:metadata AS jsonb),
        CAST(:hints AS jsonb), :max_cost, :retry_of, :output_expires_s, now() + make_interval(secs => :window_s))
    RETURNING id
""")
_COLUMNS: Final = """b.id, b.public_id, b.tenant_id, b.project_id, b.api_key_id, b.status, b.endpoint,
    b.completion_window, b.input_file_id, b.metadata, b.hints, b.errors, b.total, b.estimate_usd, b.max_cost_usd, b.final, b.deadline,
    b.created_at, b.in_progress_at, b.finalizing_at, b.completed_at, b.failed_at, b.expired_at, b.cancelling_at,
    b.cancelled_at, b.paused_at, b.held_back, b.retry_of, b.output_expires_s, i.public_id AS input_file, o.public_id AS output_file,
    e.public_id AS error_file, m.public_id AS merged_file, r.public_id AS retried"""
_FROM: Final = """FROM batches b JOIN files i ON i.id = b.input_file_id
    LEFT JOIN files o ON o.id = b.output_file_id LEFT JOIN files e ON e.id = b.error_file_id
    LEFT JOIN files m ON m.id = b.merged_file_id LEFT JOIN batches r ON r.id = b.retry_of"""
NOT_RUNNING: Final = text(
    "SELECT id FROM batches WHERE id = ANY(CAST(:batches AS bigint[])) AND status <> 'in_progress'"
)
FIND: Final = text(f"SELECT {_COLUMNS} {_FROM} WHERE b.public_id = :public_id AND b.tenant_id = :tenant")
GET: Final = text(f"SELECT {_COLUMNS} {_FROM} WHERE b.id = :id")
RECENT: Final = text(
    f"SELECT {_COLUMNS} {_FROM} WHERE b.project_id = :project AND b.id < :before ORDER BY b.id DESC LIMIT :limit"
)
OUTPUTS: Final = text("""
    SELECT f.blob_key FROM batches b JOIN files f ON f.id = coalesce(b.merged_file_id, b.output_file_id)
    WHERE b.id = :id AND f.deleted_at IS NULL
""")
# Of one that was never opened nothing was reserved: its rows are taken away, and give nothing back.
CANCELLING: Final = text(
    "SELECT id FROM batches WHERE status = 'cancelling' AND in_progress_at IS NOT NULL ORDER BY id LIMIT 1000"
)
# The first of every tenant, then the second ones: whoever has thousands that wait hides nobody else's.
TO_READ: Final = text("""
    SELECT id, tenant_id FROM (
        SELECT id, tenant_id, row_number() OVER (PARTITION BY tenant_id ORDER BY id) AS place FROM batches WHERE status = 'validating'
    ) waiting ORDER BY place, id LIMIT 1000
""")
PAST_DEADLINE: Final = text("""
    SELECT id FROM batches WHERE status = 'in_progress' AND deadline <= now() ORDER BY id LIMIT 100
""")
OPEN: Final = text("""
    UPDATE batches SET status = 'in_progress', in_progress_at = now(), total = :total, estimate_usd = :estimate
    WHERE id = :id AND status = 'validating' RETURNING max_cost_usd
""")
HOLD_UNREAD: Final = text("SELECT id FROM batches WHERE id = :id AND status = 'validating' FOR UPDATE")
# Apart from the statement that waits for the lock: that one sees the rows as they were before it waited.
READS_ON: Final = text("""
    SELECT :stored = coalesce(
        (SELECT row_number FROM jobs WHERE batch_id = :id AND batch_id <> 0 ORDER BY batch_id DESC, id DESC LIMIT 1), 0
    )
""")
FAIL: Final = text("""
    UPDATE batches SET status = 'failed', failed_at = now(), errors = CAST(:errors AS jsonb), final = CAST(:final AS jsonb)
    WHERE id = :id AND status = 'validating' RETURNING id
""")
CANCEL: Final = text("""
    UPDATE batches SET status = 'cancelling', cancelling_at = now()
    WHERE id = :id AND status IN ('validating', 'in_progress') RETURNING id
""")
PAUSE: Final = text("""
    UPDATE batches SET paused_at = coalesce(paused_at, now()) WHERE id = :id AND status IN ('validating', 'in_progress') RETURNING id
""")
RESUME: Final = text("""
    UPDATE batches SET paused_at = NULL, max_cost_usd = coalesce(:max_cost, max_cost_usd)
    WHERE id = :id AND status IN ('validating', 'in_progress') RETURNING id
""")
PROGRESS: Final = text("""
    SELECT tier, model, state, sum(jobs)::bigint AS jobs, sum(charge_usd) AS charge_usd, sum(input_tokens)::bigint AS input_tokens,
        sum(cached_tokens)::bigint AS cached_tokens, sum(output_tokens)::bigint AS output_tokens,
        sum(reasoning_tokens)::bigint AS reasoning_tokens
    FROM batch_progress WHERE batch_id = :id GROUP BY tier, model, state
""")
ADD_PROGRESS: Final = text("""
    INSERT INTO batch_progress (batch_id, tier, model, state, jobs, charge_usd, input_tokens, cached_tokens, output_tokens,
        reasoning_tokens)
    SELECT * FROM unnest(CAST(:batch AS bigint[]), CAST(:tier AS text[]), CAST(:model AS text[]), CAST(:state AS smallint[]),
        CAST(:jobs AS integer[]), CAST(:charge AS numeric[]), CAST(:input AS bigint[]), CAST(:cached AS bigint[]),
        CAST(:output AS bigint[]), CAST(:reasoning AS bigint[]))
""")
PLANNED: Final = text(
    "SELECT tier, model, count(*) AS jobs FROM jobs WHERE batch_id = :id AND parent_job_id IS NULL GROUP BY tier, model"
)
ENDED: Final = text("""
    SELECT b.id, b.status FROM batches b
    WHERE b.status IN ('in_progress', 'finalizing', 'cancelling')
        AND b.in_progress_at IS NOT NULL
        AND b.total = (SELECT coalesce(sum(p.jobs), 0) FROM batch_progress p WHERE p.batch_id = b.id)
    ORDER BY b.id LIMIT 100
""")
CANCELLED_EMPTY: Final = text("SELECT id FROM batches WHERE status = 'cancelling' AND in_progress_at IS NULL LIMIT 100")
FINALIZING: Final = text("""
    UPDATE batches SET status = 'finalizing', finalizing_at = now() WHERE id = :id AND status = 'in_progress'
""")
END: Final = text("""
    UPDATE batches SET status = :status, final = CAST(:final AS jsonb), output_file_id = :output, error_file_id = :error,
        merged_file_id = :merged, held_back = NULL,
        completed_at = CASE WHEN :status = 'completed' THEN now() END,
        expired_at = CASE WHEN :status = 'expired' THEN now() END,
        cancelled_at = CASE WHEN :status = 'cancelled' THEN now() END
    WHERE id = :id AND status IN ('finalizing', 'cancelling') RETURNING id
""")


@dataclass(frozen=True, slots=True)
class Tally:
    """So many jobs of a batch ended in one state on one model, with what they charged and used."""

    batch_id: int
    tier: str
    model: str
    state: JobState
    jobs: int
    charge_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a batch is made of."""

    endpoint: str
    window: str
    window_s: float
    input_file_id: int
    metadata: Mapping[str, str] | None
    hints: Mapping[str, Any]
    max_cost_usd: Decimal | None
    retry_of: int | None = None
    output_expires_s: int | None = None


def add(session: Session, owner: Owner, public_id: UUID, new: NewBatch) -> int:
    """Create a batch as `validating`; its rows are read afterwards."""
    values = {
        "public_id": public_id, "tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id,
        "endpoint": new.endpoint, "window": new.window, "window_s": new.window_s, "input_file": new.input_file_id,
        "metadata": json.dumps(new.metadata) if new.metadata is not None else None, "hints": json.dumps(new.hints),
        "max_cost": new.max_cost_usd, "retry_of": new.retry_of, "output_expires_s": new.output_expires_s,
    }  # fmt: skip
    return int(session.execute(ADD, values).scalar_one())


def find(session: Session, tenant_id: int, public_id: UUID) -> Row[Any] | None:
    """A tenant's batch by its public id."""
    return session.execute(FIND, {"public_id": public_id, "tenant": tenant_id}).one_or_none()


def get(session: Session, batch_id: int) -> Row[Any]:
    """A batch by its inner id."""
    return session.execute(GET, {"id": batch_id}).one()


def recent(session: Session, project_id: int, *, before: int = 2**62, limit: int = 20) -> Sequence[Row[Any]]:
    """A project's batches, the newest first."""
    return session.execute(RECENT, {"project": project_id, "before": before, "limit": limit}).all()


def outputs(session: Session, batch_id: int) -> str | None:
    """The blob key of all that a batch and those it retries have put out, or None where nothing is left of it."""
    key: str | None = session.execute(OUTPUTS, {"id": batch_id}).scalar_one_or_none()
    return key


def cancelling(session: Session) -> list[int]:
    """Batches that were cancelled once they were open."""
    return list(session.execute(CANCELLING).scalars())


def to_read(session: Session) -> list[tuple[int, int]]:
    """Batches that wait to be read, each with its tenant, the oldest of each tenant first."""
    return [(row.id, row.tenant_id) for row in session.execute(TO_READ)]


def not_running(session: Session, batch_ids: Set[int]) -> set[int]:
    """Those of the given batches that are not in progress any more."""
    return set(session.execute(NOT_RUNNING, {"batches": list(batch_ids)}).scalars())


def past_deadline(session: Session) -> list[int]:
    """Running batches whose deadline has passed by the database's clock."""
    return list(session.execute(PAST_DEADLINE).scalars())


def open_batch(session: Session, batch_id: int, total: int, estimate_usd: Decimal) -> Row[Any] | None:
    """Open a validated batch, so that its jobs can be assigned: its cap as it is now, or None if it was cancelled meanwhile."""
    values = {"id": batch_id, "total": total, "estimate": estimate_usd}
    return session.execute(OPEN, values).one_or_none()


def reads_on(session: Session, batch_id: int, stored: int) -> bool:
    """Hold a batch that is still read, and say whether its last row is the one that its reader put in last."""
    if session.execute(HOLD_UNREAD, {"id": batch_id}).scalar_one_or_none() is None:
        return False
    return bool(session.execute(READS_ON, {"id": batch_id, "stored": stored}).scalar_one())


def fail(session: Session, batch_id: int, errors: Mapping[str, Any], final: Mapping[str, Any]) -> bool:
    """End a batch whose validation failed; False if it is not validated any more."""
    values = {"id": batch_id, "errors": json.dumps(errors), "final": json.dumps(final)}
    return session.execute(FAIL, values).one_or_none() is not None


def cancel(session: Session, batch_id: int) -> bool:
    """Flip a batch to `cancelling` at once; its jobs are swept afterwards."""
    return session.execute(CANCEL, {"id": batch_id}).one_or_none() is not None


def pause(session: Session, batch_id: int) -> bool:
    """Assign nothing of a batch from now on; False if it has ended or is ending."""
    return session.execute(PAUSE, {"id": batch_id}).one_or_none() is not None


def resume(session: Session, batch_id: int, max_cost_usd: Decimal | None) -> bool:
    """Assign a batch's jobs again, with another cap if one is given; False if it has ended or is ending."""
    return session.execute(RESUME, {"id": batch_id, "max_cost": max_cost_usd}).one_or_none() is not None


def progress(session: Session, batch_id: int) -> Sequence[Row[Any]]:
    """How many jobs ended, by tier, model and state, with charges and tokens."""
    return session.execute(PROGRESS, {"id": batch_id}).all()


def planned(session: Session, batch_id: int) -> Sequence[Row[Any]]:
    """How many jobs a batch has by tier and model."""
    return session.execute(PLANNED, {"id": batch_id}).all()


def add_progress(session: Session, tallies: Sequence[Tally]) -> None:
    """Append what ended in this transaction."""
    if not tallies:
        return
    session.execute(
        ADD_PROGRESS,
        {
            "batch": [t.batch_id for t in tallies], "tier": [t.tier for t in tallies], "model": [t.model for t in tallies],
            "state": [int(t.state) for t in tallies], "jobs": [t.jobs for t in tallies],
            "charge": [t.charge_usd for t in tallies], "input": [t.input_tokens for t in tallies],
            "cached": [t.cached_tokens for t in tallies], "output": [t.output_tokens for t in tallies],
            "reasoning": [t.reasoning_tokens for t in tallies],
        },
    )  # fmt: skip


def ended(session: Session) -> list[tuple[int, BatchStatus]]:
    """Batches all of whose jobs have ended, and that still need their files."""
    return [(row.id, BatchStatus(row.status)) for row in session.execute(ENDED)]


def cancelled_before_open(session: Session) -> list[int]:
    """Batches that were cancelled while their rows were still read."""
    return list(session.execute(CANCELLED_EMPTY).scalars())


def start_finalizing(session: Session, batch_id: int) -> None:
    """Say that a batch's files are being written."""
    session.execute(FINALIZING, {"id": batch_id})


def end(
    session: Session,
    batch_id: int,
    status: BatchStatus,
    final: Mapping[str, Any],
    files: Mapping[str, int],
) -> bool:
    """End a batch with its frozen counts and its files by purpose (`output`, `error`, `merged`); False if somebody else did."""
    values = {
        "id": batch_id, "status": status, "final": json.dumps(final), "output": files.get("output"),
        "error": files.get("error"), "merged": files.get("merged"),
    }  # fmt: skip
    return session.execute(END, values).one_or_none() is not None
