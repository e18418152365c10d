"""What people say of answers: put on the list with the result, read, decided, and the versions that corrections make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator import ids

STATES: Final = ("open", "corrected", "confirmed", "dropped")
OPEN: Final = "open"
PAGE: Final = 500

PUT: Final = text("""
    INSERT INTO reviews (public_id, tenant_id, batch_id, job_id, stored_on, task, task_version, document_name, document_hash, fields)
    SELECT x.public_id, j.tenant_id, j.batch_id, j.id, j.stored_on, j.task, j.task_version,
        left(coalesce(q.features::jsonb -> 'document' ->> 'name', j.custom_id, ''), 1000), j.document_hash, x.fields
    FROM unnest(CAST(:jobs AS bigint[]), CAST(:public_ids AS uuid[]), CAST(:fields AS jsonb[])) AS x(job_id, public_id, fields)
    JOIN jobs j ON j.id = x.job_id AND j.document_hash IS NOT NULL AND j.task_version IS NOT NULL AND j.parent_job_id IS NULL
    JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
""")
_COLUMNS: Final = """r.id, r.public_id, r.batch_id, r.job_id, r.stored_on, r.task, r.task_version, r.document_name, r.document_hash,
    r.fields, r.state, r.created_at, r.decided_at, r.decided_by, j.public_id AS job"""
LISTED: Final = text(f"""
    SELECT {_COLUMNS} FROM reviews r JOIN jobs j ON j.id = r.job_id
    WHERE r.tenant_id = :tenant AND r.task = :task AND r.state = :state AND r.id > :after ORDER BY r.id LIMIT :limit
""")
FIND: Final = f"""
    SELECT {_COLUMNS} FROM reviews r JOIN jobs j ON j.id = r.job_id WHERE r.public_id = :public_id AND r.tenant_id = :tenant
"""
_NEWEST: Final = "SELECT version, body FROM result_versions v WHERE v.job_id = {job} ORDER BY version DESC LIMIT 1"
NEWEST: Final = text(f"""
    SELECT coalesce(v.version, 1) AS version, coalesce(v.body, r.body) AS body, CASE WHEN v.body IS NULL THEN r.blob_key END AS blob_key
    FROM results r LEFT JOIN LATERAL ({_NEWEST.format(job="r.job_id")}) v ON true WHERE r.job_id = :job AND r.stored_on = :stored_on
""")
DECIDE: Final = text("UPDATE reviews SET state = :state, decided_at = now(), decided_by = :by WHERE id = :id")
# Whoever took the result over takes the correction over: by the key of the result, each from the one before it.
ADD_VERSION: Final = text("""
    WITH RECURSIVE holders AS (
        SELECT id, tenant_id, batch_id, stored_on, reuse_key FROM jobs WHERE id = :job AND tenant_id = :tenant
        UNION SELECT j.id, j.tenant_id, j.batch_id, j.stored_on, j.reuse_key FROM holders h
            JOIN jobs j ON j.tenant_id = h.tenant_id AND j.reuse_key = h.reuse_key AND j.state = 10 AND j.reused_job_id = h.id
    )
    INSERT INTO result_versions (job_id, version, tenant_id, batch_id, stored_on, body, decided_by)
    SELECT h.id, coalesce((SELECT max(v.version) FROM result_versions v WHERE v.job_id = h.id), 1) + 1, h.tenant_id, h.batch_id,
        h.stored_on, :body, :by FROM holders h
""")
# The review is that of the job itself, or of the one whose result it took over.
STANDING: Final = text(f"""
    WITH RECURSIVE makers AS (
        SELECT id, reused_job_id FROM jobs WHERE id = :job
        UNION SELECT j.id, j.reused_job_id FROM makers m JOIN jobs j ON j.id = m.reused_job_id
    )
    SELECT v.version, v.body, r.public_id, r.state FROM (SELECT) one LEFT JOIN LATERAL ({_NEWEST.format(job=":job")}) v ON true
    LEFT JOIN LATERAL (SELECT public_id, state FROM reviews WHERE job_id IN (SELECT id FROM makers) ORDER BY id DESC LIMIT 1) r ON true
""")
# Of a batch that runs failed rows again, those of the first one as well.
OF_BATCH: Final = text(f"""
    WITH RECURSIVE chain AS (
        SELECT id, retry_of FROM batches WHERE id = :batch UNION SELECT b.id, b.retry_of FROM chain c JOIN batches b ON b.id = c.retry_of
    ), told AS (
        SELECT job_id FROM result_versions WHERE batch_id IN (SELECT id FROM chain) AND batch_id <> 0
        UNION SELECT job_id FROM reviews WHERE batch_id IN (SELECT id FROM chain) AND batch_id <> 0 AND state IN ('corrected', 'confirmed')
    )
    SELECT j.id, j.public_id, j.custom_id, v.version, v.body, r.state FROM told JOIN jobs j ON j.id = told.job_id
    LEFT JOIN LATERAL ({_NEWEST.format(job="j.id")}) v ON true LEFT JOIN reviews r ON r.job_id = j.id
    WHERE told.job_id > :after ORDER BY told.job_id LIMIT :limit
""")
LABELS: Final = text(f"""
    SELECT r.id, r.document_hash, r.task_version, coalesce(v.body, s.body) AS body, CASE WHEN v.body IS NULL THEN s.blob_key END AS blob_key
    FROM reviews r JOIN results s ON s.job_id = r.job_id AND s.stored_on = r.stored_on
    LEFT JOIN LATERAL ({_NEWEST.format(job="r.job_id")}) v ON true
    WHERE r.tenant_id = :tenant AND r.task = :task AND r.state IN ('corrected', 'confirmed') AND r.id > :after ORDER BY r.id LIMIT :limit
""")
# They go with the result, which goes with its week.
_PAST: Final = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT g.ctid FROM {table} g
        WHERE g.stored_on < CAST(date_trunc('week', CAST(now() AT TIME ZONE 'UTC' AS date) - CAST(:days AS integer)) AS date)
            AND NOT EXISTS (SELECT FROM results s WHERE s.job_id = g.job_id AND s.stored_on = g.stored_on) LIMIT 5000
    ))
"""
FORGET: Final = tuple(text(_PAST.format(table=table)) for table in ("reviews", "result_versions"))


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says is right for a document."""

    document_hash: bytes
    task_version: int
    body: bytes | None
    """The response body that holds the answer; None where a blob does."""
    blob_key: str | None


def put(session: Session, noted: Sequence[tuple[int, str]]) -> None:
    """Put answers on the list, by job with its fields as JSON: one statement for all of them."""
    if noted:
        values = {
            "jobs": [job_id for job_id, _ in noted], "public_ids": ids.uuid7s(len(noted)), "fields": [fields for _, fields in noted],
        }  # fmt: skip
        session.execute(PUT, values)


def listed(session: Session, tenant_id: int, task: str, state: str, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """A page of a task's reviews in a state, the oldest first."""
    values = {"tenant": tenant_id, "task": task, "state": state, "after": after, "limit": limit}
    return session.execute(LISTED, values).all()


def find(session: Session, tenant_id: int, public_id: UUID, *, held: bool = False) -> Row[Any] | None:
    """A tenant's review by its public id; with `held` locked, so that two who decide come one after the other."""
    statement = text(f"{FIND} FOR UPDATE OF r" if held else FIND)
    return session.execute(statement, {"public_id": public_id, "tenant": tenant_id}).one_or_none()


def newest(session: Session, review: Row[Any]) -> Row[Any] | None:
    """The newest version of what a review is about (`version`, `body`, `blob_key`); None where retention has taken it."""
    return session.execute(NEWEST, {"job": review.job_id, "stored_on": review.stored_on}).one_or_none()


def add_version(session: Session, tenant_id: int, job_id: int, body: bytes, by: str) -> None:
    """Store the next version of a job's result, and of those that took it over."""
    session.execute(ADD_VERSION, {"tenant": tenant_id, "job": job_id, "body": body, "by": by})


def decide(session: Session, review_id: int, state: str, by: str) -> None:
    """Say what a person decided of a review that is held."""
    session.execute(DECIDE, {"id": review_id, "state": state, "by": by})


def standing(session: Session, job_id: int) -> Row[Any]:
    """How the result of a job about a document stands: `version` and `body` of a correction, `public_id` and `state` of its review."""
    return session.execute(STANDING, {"job": job_id}).one()


def of_batch(session: Session, batch_id: int, *, after: int, limit: int) -> Sequence[Row[Any]]:
    """A page of a batch's results that people corrected or confirmed, in the order of their jobs; `version` and `body` where corrected."""
    return session.execute(OF_BATCH, {"batch": batch_id, "after": after, "limit": limit}).all()


def labels(session: Session, tenant_id: int, task: str) -> Iterator[Label]:
    """What people said is right for documents of a task, corrected and confirmed, the oldest first: right-sizing learns from it."""
    after = 0
    while True:
        values = {"tenant": tenant_id, "task": task, "after": after, "limit": PAGE}
        page = session.execute(LABELS, values).all()
        for row in page:
            yield Label(bytes(row.document_hash), row.task_version, row.body, row.blob_key)
        if len(page) < PAGE:
            return
        after = page[-1].id


def answer_in(body: bytes) -> str:
    """The answer that a response body holds."""
    choices: list[dict[str, Any]] = orjson.loads(body).get("choices") or [{}]
    return str((choices[0].get("message") or {}).get("content") or "")


def forget(session: Session, keep_days: int) -> int:
    """Delete a chunk of reviews and versions whose results are past the retention and gone; returns how many."""
    done = 0
    for one in FORGET:
        done += int(session.execute(one, {"days": keep_days}).rowcount)  # type: ignore[attr-defined]
    return done
