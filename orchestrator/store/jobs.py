"""Rows of jobs: put in, swept, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import TERMINAL, JobState, Owner
from orchestrator.promotion import Drawn
from orchestrator.store.reuse import Reused
from orchestrator.store.rightsizing import audits
from orchestrator.store.session import copy_rows

JOB_COLUMNS: Final = (
    "id", "public_id", "tenant_id", "project_id", "api_key_id", "batch_id", "lane", "prefix_hash", "deadline", "row_number",
    "fleet_version", "policy_version", "price_version", "stored_on", "state", "held_usd", "worst_usd", "tier", "model",
    "endpoint", "rule", "task", "custom_id", "fault_code", "fault_message", "ended_at", "cascade",
    "task_version", "document_hash", "reuse_key", "reused_job_id", "parent_job_id", "pieces", "level",
)  # fmt: skip
REQUEST_COLUMNS: Final = ("stored_on", "job_id", "body", "blob_key", "reasons", "features")
RESULT_COLUMNS: Final = ("stored_on", "job_id", "attempt", "body", "blob_key")

RESERVE_IDS: Final = text("""
    SELECT array_agg(nextval('jobs_id_seq')), (now() AT TIME ZONE 'UTC')::date, now() FROM generate_series(1, :count)
""")
LAST_ROW: Final = text("""
    SELECT coalesce(max(row_number), 0), coalesce(sum(held_usd), 0) FROM jobs WHERE batch_id = :batch
""")
ENDED_AT_BIRTH: Final = text("""
    SELECT tier, model, state, count(*) AS jobs FROM jobs WHERE batch_id = :batch AND batch_id <> 0 AND state >= 10 AND parent_job_id IS NULL
    GROUP BY tier, model, state
""")
QUEUED_COUNT: Final = text("SELECT reltuples::bigint FROM pg_class WHERE relname = 'jobs_queued'")
DELETE_UNOPENED: Final = text("""
    WITH gone AS (
        DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE batch_id = :batch LIMIT :limit) RETURNING id, stored_on, public_id
    ), undrawn AS (
        DELETE FROM audits a USING gone WHERE a.job = gone.public_id
    )
    DELETE FROM job_requests r USING gone WHERE r.job_id = gone.id AND r.stored_on = gone.stored_on RETURNING r.blob_key
""")
_SWEPT: Final = """RETURNING jobs.id, jobs.public_id, jobs.batch_id, jobs.tenant_id, jobs.project_id, jobs.api_key_id, jobs.tier, jobs.model,
        jobs.interactive, jobs.parent_job_id, jobs.unbilled, picked.held_usd"""
SWEEP: Final = text(f"""
    WITH picked AS (
        SELECT id, held_usd FROM jobs WHERE batch_id = :batch AND state = ANY(:states) AND id > :after
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET state = :state, ended_at = now(), held_usd = 0, retry_at = NULL, fault_code = :code, fault_message = :message
    FROM picked WHERE jobs.id = picked.id
    {_SWEPT}
""")
SWEEP_ONE: Final = text(f"""
    WITH picked AS (SELECT id, held_usd FROM jobs WHERE id = :id AND state IN (1, 2, 3) FOR UPDATE)
    UPDATE jobs SET state = :state, ended_at = now(), held_usd = 0, retry_at = NULL, fault_code = :code, fault_message = :message
    FROM picked WHERE jobs.id = picked.id
    {_SWEPT}
""")
EXPIRE_SINGLES: Final = text(f"""
    WITH picked AS (
        SELECT id, held_usd FROM jobs WHERE batch_id = 0 AND state IN (1, 3) AND deadline <= now()
        ORDER BY deadline LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET state = 13, ended_at = now(), held_usd = 0, retry_at = NULL, fault_code = :code, fault_message = :message
    FROM picked WHERE jobs.id = picked.id
    {_SWEPT}
""")
WAKE_WAITING: Final = text("""
    WITH due AS (
        SELECT id FROM jobs WHERE state = 3 AND retry_at <= now() ORDER BY retry_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET state = 1, requeued = true, retry_at = NULL FROM due WHERE jobs.id = due.id RETURNING jobs.model
""")
FIND: Final = text("""
    SELECT j.*, r.reasons, r.features, b.public_id AS batch FROM jobs j
    JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on LEFT JOIN batches b ON b.id = j.batch_id
    WHERE j.public_id = :public_id AND j.tenant_id = :tenant
""")
HAS_ENDED: Final = text("SELECT ended_at IS NOT NULL FROM jobs WHERE public_id = :public_id AND tenant_id = :tenant")
ATTEMPTS: Final = text("""
    SELECT a.*, i.closed_at AS books_closed_at FROM attempts a LEFT JOIN machine_intervals i ON i.id = a.interval_id
    WHERE a.job_id = :job ORDER BY a.attempt
""")
TRANSFERS: Final = text("SELECT * FROM transfers WHERE job_id = :job ORDER BY attempt, kind")
RESULT: Final = text("SELECT body, blob_key FROM results WHERE job_id = :job AND stored_on = :stored_on")
REQUEST: Final = text("SELECT body, blob_key FROM job_requests WHERE job_id = :job AND stored_on = :stored_on")
# What a document in pieces cost is what all of its pieces did.
LINES: Final = text("""
    SELECT j.id, j.public_id, j.custom_id, j.state, j.tier, j.model, j.rule, j.attempts, j.fault_code, j.fault_message,
        j.task, j.task_version, j.reused_job_id, j.pieces, q.reasons, q.features, r.body, r.blob_key, t.charge_usd + coalesce(p.charge_usd, 0) AS charge_usd,
        coalesce(a.simulated, p.simulated, false) AS simulated, coalesce(a.engine_s, p.engine_s) AS engine_s, coalesce(a.detail, p.detail) AS detail
    FROM (
        SELECT * FROM jobs
        WHERE batch_id = :batch AND batch_id <> 0 AND id > :after AND state >= 10 AND (state = 10) = :succeeded AND parent_job_id IS NULL
        ORDER BY batch_id, id LIMIT :limit
    ) j
    JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
    LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount_usd), 0) AS charge_usd FROM transfers WHERE job_id = j.id AND kind IN ('charge', 'rejected')
    ) t
    LEFT JOIN LATERAL (
        SELECT sum(s.charge_usd) AS charge_usd, bool_or(s.simulated) AS simulated, sum(s.engine_s)::real AS engine_s, min(s.detail) AS detail
        FROM jobs c CROSS JOIN LATERAL (
            SELECT (SELECT sum(amount_usd) FROM transfers WHERE job_id = c.id AND kind IN ('charge', 'rejected')) AS charge_usd,
                bool_or(a.simulated) AS simulated, sum(a.engine_s) AS engine_s, min(a.detail) AS detail
            FROM attempts a WHERE a.job_id = c.id
        ) s WHERE c.parent_job_id = j.id AND j.pieces > 0
    ) p ON j.pieces > 0
    LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempts
    ORDER BY j.id
""")


FAILED_REQUESTS: Final = text("""
    SELECT j.id, j.custom_id, j.tier, j.task, j.endpoint, j.document_hash, r.body, r.blob_key, r.features FROM (
        SELECT * FROM jobs WHERE batch_id = :batch AND batch_id <> 0 AND id > :after AND state > 10 AND rule <> 'unreadable' AND parent_job_id IS NULL AND forgotten_at IS NULL
            AND (CAST(:only AS text) IS NULL OR fault_code = :only)
        ORDER BY batch_id, id LIMIT :limit
    ) j JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on ORDER BY j.id
""")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A routed job on its way in."""

    public_id: str
    """32 hexadecimal digits."""
    row_number: int
    custom_id: str | None
    state: JobState
    tier: str
    model: str
    endpoint: str
    rule: str
    task: str | None
    prefix_hash: int
    held_usd: Decimal
    """What is held for it from the beginning."""
    worst_usd: Decimal
    """The most that it may cost."""
    reasons: str
    """One reason a line."""
    features: str
    """The features as JSON."""
    body: bytes | None
    blob_key: str | None = None
    fault_code: str | None = None
    fault_message: str | None = None
    cascade: tuple[str, ...] = ()
    """Models that take over, in this order, where an answer is not accepted."""
    within_s: float | None = None
    """How long it may take, where its caller said less than any may."""
    task_version: int | None = None
    document_hash: bytes | None = None
    reuse_key: bytes | None = None
    reused: Reused | None = None
    """The result that it takes over; then it is born as succeeded."""
    follows: int | str | None = None
    """The job whose result it waits for: its id, or the public id of one that is put in together with it."""
    pieces: int = 0
    """How many pieces a document is asked in."""
    parent: int | str | None = None
    """The document's job: its id, or the public id of one that is put in together with its pieces."""
    drawn: Drawn | None = None
    """Whether another model answers it as well, which was decided before anything is answered."""
    level: int = 0
    """Of a piece 1, of what makes one answer of several 2 and so on; of a document, the level that is asked now."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the jobs of one batch share."""

    owner: Owner
    batch_id: int
    """Their lane as well."""
    deadline: datetime
    fleet_version: int
    policy_version: int
    price_version: int


@dataclass(frozen=True, slots=True)
class Swept:
    """One job that was ended by a sweep, and the hold that it gave back."""

    id: int
    public_id: UUID
    batch_id: int
    owner: Owner
    tier: str
    model: str
    interactive: bool
    held_usd: Decimal
    is_piece: bool
    unbilled: bool = False
    """Whether it was for us alone: its owner is not told of it."""


def _swept(row: Row[Any]) -> Swept:
    owner = Owner(row.tenant_id, row.project_id, row.api_key_id)
    is_piece = row.parent_job_id is not None
    return Swept(
        row.id,
        row.public_id,
        row.batch_id,
        owner,
        row.tier,
        row.model,
        row.interactive,
        row.held_usd,
        is_piece,
        row.unbilled,
    )


def put(session: Session, jobs: Sequence[NewJob], frame: Frame) -> None:
    """COPY a batch's jobs and their bodies in: one round trip for the ids and one for each table."""
    ids, stored_on, now = session.execute(RESERVE_IDS, {"count": len(jobs)}).one()
    copy_rows(session, "jobs", JOB_COLUMNS, _job_rows(jobs, ids, frame, stored_on, now))
    rows = ((stored_on, i, j.body, j.blob_key, j.reasons, j.features) for i, j in zip(ids, jobs, strict=True))
    copy_rows(session, "job_requests", REQUEST_COLUMNS, rows)
    if any(job.reused for job in jobs):
        taken = (
            (stored_on, i, 0, j.reused.body, j.reused.blob_key) for i, j in zip(ids, jobs, strict=True) if j.reused
        )
        copy_rows(session, "results", RESULT_COLUMNS, taken)
    audits.draw(session, frame.owner.tenant_id, [(job.public_id, job.drawn) for job in jobs if job.drawn])


def _job_rows(
    jobs: Sequence[NewJob], ids: Sequence[int], frame: Frame, stored_on: date, now: datetime
) -> Iterator[tuple[Any, ...]]:
    owner = frame.owner
    named = {job.parent for job in jobs if job.parent} | {job.follows for job in jobs if job.follows}
    id_of = {job.public_id: job_id for job_id, job in zip(ids, jobs, strict=True) if job.public_id in named}
    for job_id, job in zip(ids, jobs, strict=True):
        yield (
            job_id, job.public_id, owner.tenant_id, owner.project_id, owner.api_key_id, frame.batch_id, frame.batch_id, job.prefix_hash,
            frame.deadline, job.row_number, frame.fleet_version, frame.policy_version, frame.price_version, stored_on,
            int(job.state), job.held_usd, job.worst_usd, job.tier, job.model, job.endpoint, job.rule, job.task,
            job.custom_id, job.fault_code, job.fault_message, now if job.state in TERMINAL else None,
            " ".join(job.cascade) or None, job.task_version, job.document_hash, job.reuse_key,
            job.reused.job_id if job.reused else id_of.get(str(job.follows), job.follows), id_of.get(str(job.parent), job.parent), job.pieces, job.level,
        )  # fmt: skip


def last_row(session: Session, batch_id: int) -> tuple[int, Decimal]:
    """The last row of a batch that is already in, and the sum of the rows' holds."""
    row = session.execute(LAST_ROW, {"batch": batch_id}).one()
    return int(row[0]), row[1]


def ended_at_birth(session: Session, batch_id: int) -> list[tuple[str, str, JobState, int]]:
    """How many rows of a batch that is about to be opened have ended already, by tier, model and state."""
    return [
        (row.tier, row.model, JobState(row.state), row.jobs)
        for row in session.execute(ENDED_AT_BIRTH, {"batch": batch_id})
    ]


def queued_estimate(session: Session) -> int:
    """About how many jobs are queued, from the planner's statistics: good enough for backpressure, and free."""
    return max(0, int(session.execute(QUEUED_COUNT).scalar_one()))


def delete_unopened(session: Session, batch_id: int, *, limit: int = 2000) -> list[str | None]:
    """Delete a chunk of the rows of a batch that was never opened; returns the blob of each, None for one without."""
    return list(session.execute(DELETE_UNOPENED, {"batch": batch_id, "limit": limit}).scalars())


def sweep(
    session: Session, batch_id: int, into: JobState, states: Sequence[JobState], code: str, message: str,
    *, after: int = 0, limit: int = 2000,
) -> list[Swept]:  # fmt: skip
    """End a chunk of a batch's jobs that stand in `states`; rows that somebody holds are left for the next sweep."""
    values = {
        "batch": batch_id, "state": int(into), "states": [int(s) for s in states], "code": code, "message": message,
        "after": after, "limit": limit,
    }  # fmt: skip
    return [_swept(row) for row in session.execute(SWEEP, values)]


def sweep_one(session: Session, job_id: int, into: JobState, code: str, message: str) -> Swept | None:
    """End one job unless it has ended."""
    values = {"id": job_id, "state": int(into), "code": code, "message": message}
    row = session.execute(SWEEP_ONE, values).one_or_none()
    return _swept(row) if row else None


def expire_singles(session: Session, code: str, message: str, *, limit: int = 2000) -> list[Swept]:
    """End jobs outside batches whose deadline passed while they waited."""
    rows = session.execute(EXPIRE_SINGLES, {"code": code, "message": message, "limit": limit})
    return [_swept(row) for row in rows]


def wake_waiting(session: Session, *, limit: int = 5000) -> set[str]:
    """Queue again the jobs whose retry time has come; returns their models."""
    return set(session.execute(WAKE_WAITING, {"limit": limit}).scalars())


def find(session: Session, tenant_id: int, public_id: UUID) -> Row[Any] | None:
    """A tenant's job with its reasons, by its public id."""
    return session.execute(FIND, {"public_id": public_id, "tenant": tenant_id}).one_or_none()


def has_ended(session: Session, tenant_id: int, public_id: UUID) -> bool | None:
    """Whether a tenant's job has ended; None where there is none."""
    ended: bool | None = session.execute(HAS_ENDED, {"public_id": public_id, "tenant": tenant_id}).scalar_one_or_none()
    return ended


def attempts(session: Session, job_id: int) -> Sequence[Row[Any]]:
    """The attempts of a job, in order."""
    return session.execute(ATTEMPTS, {"job": job_id}).all()


def transfers(session: Session, job_id: int) -> Sequence[Row[Any]]:
    """The ledger's transfers for a job."""
    return session.execute(TRANSFERS, {"job": job_id}).all()


def result(session: Session, job_id: int, stored_on: date) -> Row[Any] | None:
    """The result of a job."""
    return session.execute(RESULT, {"job": job_id, "stored_on": stored_on}).one_or_none()


def request(session: Session, job_id: int, stored_on: date) -> Row[Any] | None:
    """The stored body of a job, or the key of the blob that holds it."""
    return session.execute(REQUEST, {"job": job_id, "stored_on": stored_on}).one_or_none()


def failed_requests(session: Session, batch_id: int, *, only: str | None, after: int, limit: int) -> Sequence[Row[Any]]:
    """A page of a batch's jobs that ended without an answer, with their stored bodies, in id order; `only` those of one code."""
    values = {"batch": batch_id, "only": only, "after": after, "limit": limit}
    return session.execute(FAILED_REQUESTS, values).all()


def ended_lines(
    session: Session, batch_id: int, *, succeeded: bool, after: int, limit: int = 1000
) -> Sequence[Row[Any]]:
    """A page of a batch's jobs that succeeded, or that ended otherwise, with everything that a line says, in id order.

    The page is cut before the joins, so that its cost does not grow with the batch.
    """
    values = {"batch": batch_id, "succeeded": succeeded, "after": after, "limit": limit}
    return session.execute(LINES, values).all()
