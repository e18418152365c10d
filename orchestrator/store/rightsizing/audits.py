"""Audits: jobs that were drawn to be answered by another model as well, and what the two answers say of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.promotion import Drawn

DRAW: Final = text("""
    INSERT INTO audits (tenant_id, task, stage_id, kind, probability, job)
    SELECT :tenant, x.* FROM unnest(CAST(:tasks AS text[]), CAST(:stages AS bigint[]), CAST(:kinds AS text[]),
        CAST(:probabilities AS real[]), CAST(:jobs AS uuid[])) AS x(task, stage_id, kind, probability, job)
""")
# Of documents in pieces there is no one request that could be asked again.
ANSWERED: Final = text("""
    SELECT a.id, a.kind, a.task, s.model AS specialist_model, s.reference, s.specialist, j.id AS job_id, j.state, j.rule, j.model,
        j.pieces, j.forgotten_at, r.body, r.blob_key
    FROM audits a JOIN stages s ON s.id = a.stage_id JOIN jobs j ON j.public_id = a.job
    LEFT JOIN job_requests r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE a.state = 'drawn' AND j.state >= 10 ORDER BY a.id LIMIT :limit
""")
# Bodies are read in between: whatever became of an audit meanwhile stays as it is.
STILL_DRAWN: Final = text("""
    SELECT id FROM audits WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'drawn' ORDER BY id FOR UPDATE
""")
VOID: Final = text("""
    UPDATE audits SET state = 'void', decided_at = now() WHERE id = ANY(CAST(:ids AS bigint[]))
""")
ASKED: Final = text("UPDATE audits SET state = 'asked', asked_at = now(), audit_job_id = :job WHERE id = :audit")
ENDED: Final = text("""
    SELECT a.id, a.kind, a.task, c.state AS audit_state, c.model AS audit_model, q.body AS request, q.blob_key AS request_key, r.body AS answer, r.blob_key AS answer_key,
        o.body AS other, o.blob_key AS other_key,
        (c.attempts > 0 OR a.created_at < now() - interval '1 day') AND EXISTS (
            SELECT FROM workers w WHERE w.model = c.model AND w.last_seen > now() - make_interval(secs => :seen)
        ) AS was_asked
    FROM audits a JOIN jobs c ON c.id = a.audit_job_id JOIN jobs j ON j.public_id = a.job
    LEFT JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
    LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    LEFT JOIN results o ON o.job_id = c.id AND o.stored_on = c.stored_on
    WHERE a.state = 'asked' AND c.state >= 10 ORDER BY a.id LIMIT :limit
""")
DECIDE: Final = text("""
    UPDATE audits SET state = 'decided', decided_at = now(), agrees = x.agrees, missing = x.missing, score = x.score, text_hash = x.hash
    FROM unnest(CAST(:ids AS bigint[]), CAST(:agrees AS boolean[]), CAST(:missing AS boolean[]), CAST(:scores AS float8[]),
        CAST(:hashes AS bytea[])) AS x(id, agrees, missing, score, hash) WHERE audits.id = x.id AND audits.state = 'asked'
""")
AGAIN: Final = text("""
    UPDATE audits SET state = 'drawn', audit_job_id = NULL, asked_at = NULL WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'asked'
""")
# Of all stages under one certificate, in the order in which they were asked, up to the first that is still open: what is still out when a
# canary becomes full is seen by the watch that goes on.
UNSEEN: Final = text("""
    WITH ours AS (
        SELECT audit_job_id, agrees, state FROM audits WHERE kind = 'audit' AND state IN ('asked', 'decided') AND audit_job_id > :after
            AND stage_id IN (SELECT id FROM stages WHERE tenant_id = :tenant AND task = :task AND certificate_id = :certificate)
    )
    SELECT audit_job_id, agrees FROM ours
    WHERE state = 'decided'
        AND audit_job_id < coalesce((SELECT min(audit_job_id) FROM ours WHERE state = 'asked'), 9223372036854775807)
    ORDER BY audit_job_id LIMIT :limit
""")
# Against one revision of one reference, the newest of those that were compared: what agrees with one may not agree with another.
_COMPARED: Final = """
    WITH compared AS (
        SELECT a.id, a.text_hash, a.score, a.agrees, a.missing, a.probability, s.share, s.reference, coalesce(t.model_revision, '') AS revision
        FROM audits a JOIN stages s ON s.id = a.stage_id AND s.specialist = :specialist JOIN jobs j ON j.public_id = a.job
        LEFT JOIN attempts t ON t.job_id = j.id AND t.attempt = j.attempts
        WHERE a.tenant_id = :tenant AND a.task = :task AND a.kind = 'shadow' AND a.state = 'decided' AND a.score IS NOT NULL
            AND a.created_at >= :since
        ORDER BY a.id DESC LIMIT :limit
    ), alike AS (
        SELECT * FROM compared WHERE (reference, revision) = (SELECT reference, revision FROM compared ORDER BY id DESC LIMIT 1)
    )
"""
PAIRS: Final = text(f"{_COMPARED} SELECT * FROM alike ORDER BY id")
UNUSED_PAIRS: Final = text(f"""
    {_COMPARED}
    SELECT count(DISTINCT p.text_hash) FROM alike p WHERE p.text_hash IS NOT NULL AND NOT EXISTS (
        SELECT FROM certification_rows r WHERE r.tenant_id = :tenant AND r.task = :task AND r.text_hash = p.text_hash
    )
""")
# What the reference is just now: a server tells it with each answer.
REVISION: Final = text("""
    SELECT t.model_revision FROM audits a JOIN attempts t ON t.job_id = a.audit_job_id AND t.outcome = 'succeeded'
    WHERE a.tenant_id = :tenant AND a.task = :task AND a.kind = 'audit' AND a.stage_id = :stage AND a.state = 'decided' AND t.model_revision <> ''
    ORDER BY a.id DESC LIMIT 1
""")
COUNTS: Final = text("""
    SELECT kind, count(*) FILTER (WHERE state = 'decided') AS decided, count(*) FILTER (WHERE agrees) AS agreed,
        count(*) FILTER (WHERE missing) AS missing, count(*) FILTER (WHERE state IN ('drawn', 'asked')) AS open
    FROM audits WHERE tenant_id = :tenant AND task = :task AND created_at >= :since AND kind <> 'label' GROUP BY kind
""")
# Of all stages of a specialist under one certificate: a canary and what comes after it are one watch.
OF_STAGE: Final = text("""
    SELECT a.kind, count(*) FILTER (WHERE a.state = 'decided') AS decided, count(*) FILTER (WHERE a.agrees) AS agreed,
        count(*) FILTER (WHERE a.missing) AS missing, count(*) FILTER (WHERE a.state IN ('drawn', 'asked')) AS open
    FROM stages n JOIN stages s ON s.tenant_id = n.tenant_id AND s.task = n.task AND s.specialist = n.specialist
        AND s.certificate_id IS NOT DISTINCT FROM n.certificate_id
    JOIN audits a ON a.stage_id = s.id
    WHERE n.id = :stage AND a.kind <> 'label' GROUP BY a.kind
""")
# A stage keeps what its watch has seen of them.
FORGET: Final = text("""
    DELETE FROM audits WHERE id IN (
        SELECT id FROM audits WHERE state IN ('decided', 'void') AND created_at < now() - make_interval(days => :days) LIMIT 5000
    )
""")


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of an audit."""

    audit_id: int
    agrees: bool
    missing: bool = False
    score: float | None = None
    """Of the specialist's answer."""
    text_hash: bytes | None = None


def draw(session: Session, tenant_id: int, jobs: Sequence[tuple[str, Drawn | None]]) -> None:
    """Write down which of some new jobs were drawn: their public ids, each with the draw."""
    drawn = [(job, one) for job, one in jobs if one is not None]
    if not drawn:
        return
    values = {
        "tenant": tenant_id, "tasks": [one.task for _, one in drawn], "stages": [one.stage_id for _, one in drawn],
        "kinds": [one.kind for _, one in drawn], "probabilities": [one.probability for _, one in drawn], "jobs": [job for job, _ in drawn],
    }  # fmt: skip
    session.execute(DRAW, values)


def answered(session: Session, *, limit: int = 200) -> Sequence[Row[Any]]:
    """Drawn jobs that have ended, with their requests and the two models of their stage."""
    return session.execute(ANSWERED, {"limit": limit}).all()


def still_drawn(session: Session, audit_ids: Sequence[int]) -> set[int]:
    """Those of some audits that nobody has asked yet, locked."""
    return set(session.execute(STILL_DRAWN, {"ids": list(audit_ids)}).scalars())


def void(session: Session, audit_ids: Sequence[int]) -> None:
    """Say that there is nothing to compare."""
    session.execute(VOID, {"ids": list(audit_ids)})


def asked(session: Session, audit_id: int, job_id: int) -> None:
    """Say which job answers a drawn one again."""
    session.execute(ASKED, {"audit": audit_id, "job": job_id})


def ended(session: Session, seen_s: float, *, limit: int = 200) -> Sequence[Row[Any]]:
    """Audits whose second answer has come, or never will, with both answers."""
    return session.execute(ENDED, {"seen": seen_s, "limit": limit}).all()


def decide(session: Session, verdicts: Sequence[Decided]) -> None:
    """Store what came of some audits."""
    values = {
        "ids": [one.audit_id for one in verdicts], "agrees": [one.agrees for one in verdicts],
        "missing": [one.missing for one in verdicts], "scores": [one.score for one in verdicts],
        "hashes": [one.text_hash for one in verdicts],
    }  # fmt: skip
    session.execute(DECIDE, values)


def ask_again(session: Session, audit_ids: Sequence[int]) -> None:
    """Let audits be asked once more: nobody served the model that they were asked of."""
    session.execute(AGAIN, {"ids": list(audit_ids)})


def unseen(session: Session, stage: Row[Any], after: int, *, limit: int = 10_000) -> list[tuple[int, bool]]:
    """What the watch of a stage has not seen yet: an audit's job and whether it agreed, in the order in which they were asked."""
    values = {
        "tenant": stage.tenant_id, "task": stage.task, "certificate": stage.certificate_id, "after": after, "limit": limit,
    }  # fmt: skip
    return [(row.audit_job_id, row.agrees) for row in session.execute(UNSEEN, values)]


def pairs(
    session: Session, tenant_id: int, task: str, specialist: str, since: datetime, *, limit: int = 100_000
) -> Sequence[Row[Any]]:
    """Scores of a specialist's version with what the reference said to them, of jobs that the reference answered: all scores are among them.

    Oldest first, of the newest revision of the newest reference.
    """
    values = {"tenant": tenant_id, "task": task, "specialist": specialist, "since": since, "limit": limit}
    return session.execute(PAIRS, values).all()


def unused_pairs(
    session: Session, tenant_id: int, task: str, specialist: str, since: datetime, *, limit: int = 100_000
) -> int:
    """How many texts there are among these pairs that no attempt at a certificate has used up."""
    values = {"tenant": tenant_id, "task": task, "specialist": specialist, "since": since, "limit": limit}
    return int(session.execute(UNUSED_PAIRS, values).scalar_one())


def revision_now(session: Session, tenant_id: int, task: str, stage_id: int) -> str | None:
    """The revision of the reference that answered the newest audit of a stage; None where none has."""
    return session.execute(REVISION, {"tenant": tenant_id, "task": task, "stage": stage_id}).scalar_one_or_none()


def forget(session: Session, keep_days: int) -> int:
    """Delete a chunk of audits that were decided, past the retention; returns how many."""
    return int(session.execute(FORGET, {"days": keep_days}).rowcount)  # type: ignore[attr-defined]


def counts(session: Session, tenant_id: int, task: str, since: datetime) -> dict[str, Row[Any]]:
    """By kind, how many audits were decided, agreed, never answered, and are open."""
    return {row.kind: row for row in session.execute(COUNTS, {"tenant": tenant_id, "task": task, "since": since})}


def counts_of_stage(session: Session, stage_id: int) -> dict[str, Row[Any]]:
    """The same of a stage, and of those before it of the same specialist under the same certificate."""
    return {row.kind: row for row in session.execute(OF_STAGE, {"stage": stage_id})}
