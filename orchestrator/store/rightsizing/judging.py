"""What a judge is to compare: answers that two models gave to the same job, drawn at random, and the verdicts of those who were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

_PAIRED: Final = """
    FROM audits a JOIN jobs j ON j.public_id = a.job JOIN stages s ON s.id = a.stage_id AND s.specialist = :specialist
    WHERE a.tenant_id = :tenant AND a.task = :task AND a.kind = :kind AND a.state = 'decided' AND NOT a.missing AND j.forgotten_at IS NULL
        AND NOT EXISTS (SELECT FROM labels l WHERE l.job_id = j.id AND l.source = 'judge')
"""
COUNT: Final = text(f"SELECT count(*) {_PAIRED}")
DRAW: Final = text(f"""
    SELECT p.*, q.body AS request, q.blob_key AS request_key, r.body AS answer, r.blob_key AS answer_key, o.body AS other,
        o.blob_key AS other_key
    FROM (
        SELECT a.kind, a.text_hash, a.audit_job_id, j.id AS job_id, j.stored_on, j.public_id {_PAIRED} ORDER BY random() LIMIT :n
    ) p JOIN job_requests q ON q.job_id = p.job_id AND q.stored_on = p.stored_on
    JOIN results r ON r.job_id = p.job_id AND r.stored_on = p.stored_on
    JOIN jobs c ON c.id = p.audit_job_id JOIN results o ON o.job_id = c.id AND o.stored_on = c.stored_on
""")
VERDICTS: Final = text("""
    SELECT j.id, j.state, r.body, r.blob_key FROM jobs j LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE j.id = ANY(CAST(:jobs AS bigint[]))
""")
PUT: Final = text("""
    INSERT INTO labels (tenant_id, task, job_id, text_hash, source, good, probability, given_by)
    SELECT :tenant, :task, x.job, x.hash, 'judge', x.good, :probability, :by
    FROM unnest(CAST(:jobs AS bigint[]), CAST(:hashes AS bytea[]), CAST(:goods AS boolean[])) AS x(job, hash, good)
""")
# With the truth, where a person has given a label: the specialist's answer stands in the job or in its audit.
JUDGED: Final = text("""
    SELECT l.good, a.kind, r.body AS answer, r.blob_key AS answer_key, o.body AS other, o.blob_key AS other_key, (
        SELECT t.label FROM labels t WHERE t.job_id = l.job_id AND t.source IN ('label', 'review') AND t.label IS NOT NULL
        ORDER BY t.id DESC LIMIT 1
    ) AS label
    FROM labels l JOIN jobs j ON j.id = l.job_id JOIN audits a ON a.job = j.public_id AND a.kind = :kind
    JOIN stages s ON s.id = a.stage_id AND s.specialist = :specialist
    LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    LEFT JOIN jobs c ON c.id = a.audit_job_id LEFT JOIN results o ON o.job_id = c.id AND o.stored_on = c.stored_on
    WHERE l.tenant_id = :tenant AND l.task = :task AND l.source = 'judge' ORDER BY l.id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of answers that one thing can be said of: what a version of a specialist says to every job, or what it answered alone."""

    task: str
    specialist: str
    kind: str
    """`shadow` or `audit`, as their audits are."""


def population(session: Session, tenant_id: int, pairs: Pairs) -> int:
    """How many pairs of answers no judge has compared yet."""
    return int(session.execute(COUNT, {"tenant": tenant_id, **asdict(pairs)}).scalar_one())


def draw(session: Session, tenant_id: int, pairs: Pairs, n: int) -> Sequence[Row[Any]]:
    """Pairs drawn at random, with the request and both answers."""
    return session.execute(DRAW, {"tenant": tenant_id, **asdict(pairs), "n": n}).all()


def verdicts(session: Session, jobs: Sequence[int]) -> dict[int, Row[Any]]:
    """What became of the questions to a judge."""
    return {row.id: row for row in session.execute(VERDICTS, {"jobs": list(jobs)})}


def put(
    session: Session, tenant_id: int, task: str, found: Sequence[tuple[int, bytes, bool]], *, probability: float, given_by: str
) -> None:  # fmt: skip
    """Store a judge's verdicts: a job, its text's hash, and whether the specialist's answer is as good."""
    values = {
        "tenant": tenant_id, "task": task, "probability": probability, "by": given_by, "jobs": [one[0] for one in found],
        "hashes": [one[1] for one in found], "goods": [one[2] for one in found],
    }  # fmt: skip
    session.execute(PUT, values)


def judged(session: Session, tenant_id: int, pairs: Pairs, *, limit: int = 20_000) -> Sequence[Row[Any]]:
    """Verdicts with both answers, and the truth where a person has told it."""
    return session.execute(JUDGED, {"tenant": tenant_id, **asdict(pairs), "limit": limit}).all()
