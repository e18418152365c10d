"""Labels: what the right answer to a job is, or whether its answer was good, as people say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

PUT: Final = text("""
    INSERT INTO labels (tenant_id, task, job_id, text_hash, source, label, good, probability, given_by)
    SELECT :tenant, j.task, j.id, x.hash, :source, x.label, x.good, (SELECT a.probability FROM audits a WHERE a.job = j.public_id), :by
    FROM unnest(CAST(:jobs AS uuid[]), CAST(:hashes AS bytea[]), CAST(:labels AS text[]), CAST(:goods AS boolean[]))
        AS x(job, hash, label, good)
    JOIN jobs j ON j.public_id = x.job AND j.tenant_id = :tenant AND j.task IS NOT NULL
    RETURNING job_id
""")
JOBS: Final = text("""
    SELECT j.public_id, j.task, j.state, j.forgotten_at, r.body, r.blob_key FROM unnest(CAST(:jobs AS uuid[])) AS x(job)
    JOIN jobs j ON j.public_id = x.job AND j.tenant_id = :tenant
    LEFT JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
""")
# The newest word on a job counts, of each source.
ANSWERED: Final = text("""
    SELECT DISTINCT ON (l.job_id, l.source) l.source, l.label, l.good, l.probability, j.model, j.tier, r.body, r.blob_key
    FROM labels l JOIN jobs j ON j.id = l.job_id AND j.state = 10
    LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE l.tenant_id = :tenant AND l.task = :task ORDER BY l.job_id, l.source, l.id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class NewLabel:
    """What somebody says of a job's answer."""

    job: UUID
    text_hash: bytes
    label: str | None
    good: bool | None = None


def jobs(session: Session, tenant_id: int, public_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Those of some jobs that a tenant has, with their requests."""
    found = session.execute(JOBS, {"tenant": tenant_id, "jobs": list(public_ids)})
    return {row.public_id: row for row in found}


def put(session: Session, tenant_id: int, new: Sequence[NewLabel], *, source: str, given_by: str) -> int:
    """Store labels of a tenant's jobs that have a task; returns how many."""
    values = {
        "tenant": tenant_id, "source": source, "by": given_by, "jobs": [one.job for one in new],
        "hashes": [one.text_hash for one in new], "labels": [one.label for one in new], "goods": [one.good for one in new],
    }  # fmt: skip
    return len(session.execute(PUT, values).all())


def answered(session: Session, tenant_id: int, task: str, *, limit: int = 100_000) -> Sequence[Row[Any]]:
    """Labels of a task's jobs that were answered, each with the answer and the model that gave it."""
    return session.execute(ANSWERED, {"tenant": tenant_id, "task": task, "limit": limit}).all()
