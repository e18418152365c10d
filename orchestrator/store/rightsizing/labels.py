"""Labels: what the right answer to a job is, or whether its answer was good, as people say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.store.rightsizing.answered import AMONG

# Whoever forgets a document meanwhile waits for this, and finds the label as well.
PUT: Final = text("""
    INSERT INTO labels (tenant_id, task, job_id, text_hash, source, label, good, probability, given_by)
    SELECT :tenant, j.task, j.id, x.hash, :source, x.label, x.good, (SELECT a.to_label FROM audits a WHERE a.job = j.public_id), :by
    FROM unnest(CAST(:jobs AS uuid[]), CAST(:hashes AS bytea[]), CAST(:labels AS text[]), CAST(:goods AS boolean[]))
        AS x(job, hash, label, good)
    JOIN jobs j ON j.public_id = x.job AND j.tenant_id = :tenant AND j.task IS NOT NULL AND j.forgotten_at IS NULL
    FOR SHARE OF j RETURNING job_id
""")
JOBS: Final = text("""
    SELECT j.public_id, j.task, j.state, j.forgotten_at, r.body, r.blob_key FROM unnest(CAST(:jobs AS uuid[])) AS x(job)
    JOIN jobs j ON j.public_id = x.job AND j.tenant_id = :tenant
    LEFT JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
""")
# Every answered job, whether or not somebody labelled it by hand: those that people pick are not like the others, and neither is the rest.
_ANSWERED: Final = """
    SELECT j.id, j.stored_on, j.public_id, j.model, (
            SELECT l.label FROM labels l WHERE l.job_id = j.id AND l.source = 'label' ORDER BY l.id DESC LIMIT 1
        ) AS label, EXISTS (SELECT FROM audits a WHERE a.job = j.public_id AND a.to_label IS NOT NULL) AS drawn,
        EXISTS (SELECT FROM labels l WHERE l.job_id = j.id AND l.source = 'label') AS labelled
    FROM jobs j WHERE j.id > (SELECT max(id) FROM jobs) - :among AND j.tenant_id = :tenant AND j.task = :task AND j.state = 10
        AND NOT j.unbilled AND j.parent_job_id IS NULL AND j.pieces = 0 AND j.forgotten_at IS NULL AND j.created_at >= :since
"""
THERE: Final = text(f"""
    SELECT count(*) FILTER (WHERE NOT drawn) AS there, count(*) FILTER (WHERE drawn AND NOT labelled) AS pending FROM ({_ANSWERED}) x
""")
# Those that were drawn before and still have no label come first: what people pass over must not fall out of the sample.
DRAW: Final = text(f"""
    SELECT d.public_id, d.model, d.drawn, d.label, q.body AS request, q.blob_key AS request_key, r.body AS answer, r.blob_key AS answer_key
    FROM (SELECT * FROM ({_ANSWERED}) x WHERE NOT (drawn AND labelled) ORDER BY drawn DESC, random() LIMIT :n) d
    JOIN job_requests q ON q.job_id = d.id AND q.stored_on = d.stored_on
    JOIN results r ON r.job_id = d.id AND r.stored_on = d.stored_on
""")
# One that was drawn to be labelled before keeps the probability that it was drawn with then.
NOTE: Final = text("""
    INSERT INTO audits (tenant_id, task, stage_id, kind, probability, to_label, job, state)
    SELECT :tenant, :task, 0, 'label', :probability, :probability, x.job, 'void' FROM unnest(CAST(:jobs AS uuid[])) AS x(job)
    ON CONFLICT (job) DO UPDATE SET to_label = coalesce(audits.to_label, excluded.to_label)
""")
# With the newest label of each, where it has come. What was forgotten, or whose request is gone, can be held to nothing.
DRAWN: Final = text("""
    SELECT j.public_id, a.to_label, q.body AS request, q.blob_key AS request_key, (
        SELECT l.label FROM labels l WHERE l.job_id = j.id AND l.source = 'label' AND l.label IS NOT NULL ORDER BY l.id DESC LIMIT 1
    ) AS label
    FROM audits a JOIN jobs j ON j.public_id = a.job JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
    WHERE a.tenant_id = :tenant AND a.task = :task AND a.to_label IS NOT NULL AND j.forgotten_at IS NULL AND j.created_at >= :since
    ORDER BY a.id LIMIT :limit
""")
# Of the draw with the most of them: rows of two draws are not counted together.
UNUSED: Final = text("""
    SELECT count(DISTINCT l.text_hash) AS n FROM labels l JOIN audits a ON a.tenant_id = :tenant AND a.task = :task AND a.to_label IS NOT NULL
        JOIN jobs j ON j.public_id = a.job AND j.id = l.job_id AND j.forgotten_at IS NULL AND j.created_at >= :since
    WHERE l.tenant_id = :tenant AND l.task = :task AND l.source = 'label' AND l.label IS NOT NULL
        AND NOT EXISTS (SELECT FROM certification_rows r WHERE r.tenant_id = :tenant AND r.task = :task AND r.text_hash = l.text_hash)
    GROUP BY a.to_label ORDER BY n DESC LIMIT 1
""")
# The newest word on a job counts, of each source.
ANSWERED: Final = text("""
    SELECT DISTINCT ON (l.job_id, l.source) l.source, l.label, l.good, l.probability, j.model, j.tier, j.rule, r.body, r.blob_key
    FROM labels l JOIN jobs j ON j.id = l.job_id AND j.state = 10
    LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE l.tenant_id = :tenant AND l.task = :task AND l.source <> 'judge' ORDER BY l.job_id, l.source, l.id DESC LIMIT :limit
""")
# Their job's request and answer are gone by then, and with them what they could be held to.
FORGET: Final = text("""
    DELETE FROM labels WHERE id IN (
        SELECT l.id FROM labels l JOIN jobs j ON j.id = l.job_id
        WHERE l.created_at < now() - make_interval(days => :days) AND j.stored_on < CAST(now() - make_interval(days => :days) AS date)
        LIMIT 5000
    )
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


def draw(session: Session, tenant_id: int, task: str, since: datetime, n: int) -> Sequence[Row[Any]]:
    """Some answered jobs of a task, and the probability noted with which each was drawn; those drawn before that have no label come first.

    A job that somebody labelled by hand may be drawn as well, and brings its label.
    """
    values = {"tenant": tenant_id, "task": task, "since": since, "n": n, "among": AMONG}
    there, pending = session.execute(THERE, values).one()
    found = session.execute(DRAW, values).all()
    new = [row.public_id for row in found if not row.drawn]
    if new:
        noted = {"tenant": tenant_id, "task": task, "probability": min(1.0, (n - pending) / there)}
        session.execute(NOTE, {**noted, "jobs": new})
    return found


def drawn(session: Session, tenant_id: int, task: str, since: datetime, *, limit: int = 50_000) -> Sequence[Row[Any]]:
    """Jobs that were drawn for people to label, with their requests, and the label where somebody gave it."""
    values = {"tenant": tenant_id, "task": task, "since": since, "limit": limit}
    return session.execute(DRAWN, values).all()


def unused(session: Session, tenant_id: int, task: str, since: datetime) -> int:
    """How many texts that were labelled no attempt at a certificate has used, of the draw that has the most of them."""
    values = {"tenant": tenant_id, "task": task, "since": since}
    return int(session.execute(UNUSED, values).scalar_one_or_none() or 0)


def forget(session: Session, keep_days: int) -> int:
    """Delete a chunk of labels past the retention; returns how many."""
    return int(session.execute(FORGET, {"days": keep_days}).rowcount)  # type: ignore[attr-defined]


def answered(session: Session, tenant_id: int, task: str, *, limit: int = 100_000) -> Sequence[Row[Any]]:
    """Labels of a task's jobs that were answered, each with the answer and the model that gave it."""
    return session.execute(ANSWERED, {"tenant": tenant_id, "task": task, "limit": limit}).all()
