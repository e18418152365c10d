"""Answered jobs of a task, page by page: what models may be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

_OURS: Final = """
    tenant_id = :tenant AND task = :task AND state = 10 AND NOT unbilled AND parent_job_id IS NULL AND pieces = 0 AND forgotten_at IS NULL
        AND created_at >= :since AND (CAST(:model AS text) IS NULL OR model = :model AND rule <> 'certified')
"""
# The newest correction stands for the answer, and a label that was given on purpose counts before one that came as feedback. What was forgotten is in no page: its bodies are gone.
PAGE: Final = text(f"""
    SELECT j.id, j.public_id, j.model, j.tier, j.task_version, j.created_at, q.body AS request, q.blob_key AS request_key,
        coalesce(v.body, r.body) AS answer, CASE WHEN v.body IS NULL THEN r.blob_key END AS answer_key, v.body IS NOT NULL AS is_corrected,
        a.model_revision, a.simulated, l.label, l.source AS label_source, f.good, j.document_hash
    FROM (
        SELECT * FROM jobs WHERE id > :after AND {_OURS} ORDER BY id LIMIT :limit
    ) j JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
    JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempts
    LEFT JOIN LATERAL (SELECT body FROM result_versions v WHERE v.job_id = j.id ORDER BY version DESC LIMIT 1) v ON true
    LEFT JOIN LATERAL (
        SELECT label, source FROM labels l WHERE l.job_id = j.id AND l.label IS NOT NULL ORDER BY source = 'feedback', l.id DESC LIMIT 1
    ) l ON true
    LEFT JOIN LATERAL (
        SELECT good FROM labels f WHERE f.job_id = j.id AND f.source = 'feedback' AND f.good IS NOT NULL ORDER BY f.id DESC LIMIT 1
    ) f ON true
    ORDER BY j.id
""")
AMONG: Final = 2_000_000
"""The newest jobs, whosever they are: a bounded scan of the primary key, whatever the history holds."""
# Before the newest rows of a task: of a long past it is the latest that is learned from.
BEFORE: Final = text(f"""
    WITH newest AS (SELECT greatest(0, coalesce(max(id), 0) - :among) AS id FROM jobs)
    SELECT greatest(newest.id, (SELECT id FROM jobs WHERE id > newest.id AND {_OURS} ORDER BY id DESC OFFSET :most LIMIT 1)) FROM newest
""")


def first_id(session: Session, tenant_id: int, task: str, since: datetime, *, model: str | None, most: int) -> int:
    """After which job the newest rows of a task begin, at most so many of them; a bounded number of jobs is looked through."""
    values = {"tenant": tenant_id, "task": task, "since": since, "model": model, "most": most, "among": AMONG}
    return int(session.execute(BEFORE, values).scalar_one())


def page(
    session: Session, tenant_id: int, task: str, since: datetime, *, after: int, model: str | None = None, limit: int = 1_000
) -> Sequence[Row[Any]]:  # fmt: skip
    """Answered jobs of a task in the order of their making, after one of them; of one model where it is named, but for what another passed on to it."""
    values = {"tenant": tenant_id, "task": task, "since": since, "after": after, "model": model, "limit": limit}
    return session.execute(PAGE, values).all()
