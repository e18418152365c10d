"""What a task's jobs took: volume, charges, costs, tokens, times and faults of each model, and what audits and labels say of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.store.rightsizing.answered import AMONG

OLDEST: Final = text("""
    WITH newest AS (SELECT max(id) - :among AS id FROM jobs)
    SELECT created_at FROM jobs WHERE id > (SELECT id FROM newest) AND EXISTS (SELECT FROM jobs WHERE id <= (SELECT id FROM newest))
    ORDER BY id LIMIT 1
""")
TASKS: Final = text("""
    SELECT j.task, count(*) AS jobs FROM jobs j
    WHERE j.id > (SELECT max(id) FROM jobs) - :among AND j.tenant_id = :tenant AND j.task IS NOT NULL AND j.state = 10 AND NOT j.unbilled
        AND j.parent_job_id IS NULL AND j.created_at >= :since AND j.created_at < :until
    GROUP BY j.task ORDER BY count(*) DESC LIMIT :limit
""")
_JOBS: Final = """
    work AS MATERIALIZED (
        SELECT j.id, j.tier, j.model, j.state, j.unbilled, j.rule, j.attempts, j.parent_job_id, j.pieces FROM jobs j
        WHERE j.id > (SELECT max(id) FROM jobs) - :among AND j.tenant_id = :tenant AND j.task = :task AND j.state >= 10
            AND j.created_at >= :since AND j.created_at < :until
    )"""
# What was charged stands by the model of its attempt: of a cascade each model has its own part. A document in pieces is one job, with the
# charges of its pieces; where their answers were put together without asking, it has no attempt of its own.
MODELS: Final = text(f"""
    WITH {_JOBS}, answers AS (
        SELECT a.job_id, a.attempt, a.model, a.tier, a.outcome, a.engine_s, a.input_tokens, a.output_tokens, a.simulated, a.model_revision,
            w.unbilled, c.amount_usd AS charge, k.amount_usd AS cost, coalesce(w.parent_job_id, w.id) AS whole,
            w.parent_job_id IS NULL AS is_whole, w.parent_job_id IS NOT NULL OR w.pieces > 0 AS in_pieces
        FROM work w JOIN attempts a ON a.job_id = w.id
        LEFT JOIN transfers c ON c.job_id = a.job_id AND c.attempt = a.attempt AND c.kind IN ('charge', 'rejected')
        LEFT JOIN transfers k ON k.job_id = a.job_id AND k.attempt = a.attempt AND k.kind = 'cost'
        UNION ALL
        SELECT w.id, 0, w.model, w.tier, 'succeeded', NULL, NULL, NULL, false, '', false, NULL, NULL, w.id, true, true
        FROM work w WHERE w.pieces > 0 AND w.attempts = 0 AND w.state = 10 AND NOT w.unbilled
    ), spent AS (
        SELECT model, sum(charge) AS usd FROM answers GROUP BY model, whole, CASE WHEN NOT in_pieces THEN attempt END
    )
    SELECT model, max(tier) AS tier, bool_or(simulated) AS simulated,
        (array_agg(model_revision ORDER BY job_id DESC) FILTER (WHERE model_revision <> ''))[1] AS revision,
        count(*) FILTER (WHERE outcome = 'succeeded' AND NOT unbilled AND is_whole) AS jobs,
        count(*) FILTER (WHERE outcome = 'rejected' AND NOT unbilled AND is_whole) AS rejected,
        coalesce(sum(charge), 0) AS charge_usd, coalesce(sum(charge) FILTER (WHERE outcome = 'rejected'), 0) AS rejected_usd,
        (SELECT sum(s.usd * s.usd) FROM spent s WHERE s.model = answers.model) AS charge_squares, coalesce(sum(cost) FILTER (WHERE NOT unbilled), 0) AS cost_usd,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY engine_s) FILTER (WHERE outcome IN ('succeeded', 'rejected')) AS latency_s,
        coalesce(sum(input_tokens) FILTER (WHERE NOT unbilled), 0)::bigint AS input_tokens,
        coalesce(sum(output_tokens) FILTER (WHERE NOT unbilled), 0)::bigint AS output_tokens
    FROM answers GROUP BY model ORDER BY count(*) DESC
""")
FAULTS: Final = text(f"""
    WITH {_JOBS}
    SELECT a.model, a.fault_code AS code, count(*) AS attempts FROM work w JOIN attempts a ON a.job_id = w.id
    WHERE a.outcome NOT IN ('succeeded', 'rejected') AND a.fault_code IS NOT NULL GROUP BY a.model, a.fault_code
""")
AUDITS: Final = text(f"""
    WITH {_JOBS}
    SELECT count(*) FILTER (WHERE w.rule = 'audit') AS audits,
        coalesce(sum(k.amount_usd) FILTER (WHERE w.rule = 'audit'), 0) AS audit_usd,
        sum(k.amount_usd * k.amount_usd) FILTER (WHERE w.rule = 'audit') AS squares,
        count(*) FILTER (WHERE w.rule = 'shadow') AS others, coalesce(sum(k.amount_usd) FILTER (WHERE w.rule <> 'audit'), 0) AS other_usd
    FROM work w JOIN transfers k ON k.job_id = w.id AND k.kind = 'cost' WHERE w.unbilled
""")
ESCALATED: Final = text(
    f"WITH {_JOBS} SELECT count(*) FROM work w WHERE NOT unbilled AND rule = 'certified' AND attempts > 1 AND state = 10 "
    "AND parent_job_id IS NULL"
)
# Of one version of the specialist, by the probability with which they were drawn: within one of these all verdicts weigh the same.
AGREEMENT: Final = text("""
    SELECT a.kind, a.probability, s.share, count(*) AS n, count(*) FILTER (WHERE a.agrees) AS agreed,
        count(*) FILTER (WHERE a.score >= coalesce(s.threshold, 0)) AS accepted,
        count(*) FILTER (WHERE a.agrees AND a.score >= coalesce(s.threshold, 0)) AS accepted_agreed
    FROM audits a JOIN stages s ON s.id = a.stage_id AND s.specialist = :specialist
    WHERE a.tenant_id = :tenant AND a.task = :task AND a.state = 'decided' AND a.created_at >= :since AND a.created_at < :until
    GROUP BY a.kind, a.probability, s.share
""")
OF_STAGE: Final = text("""
    SELECT count(*) FROM audits WHERE stage_id = :stage AND kind IN ('audit', 'shadow') AND state = 'decided'
""")


def oldest(session: Session) -> datetime | None:
    """When the first of the newest jobs came, among which everything here is counted; None where they are all that there are."""
    return session.execute(OLDEST, {"among": AMONG}).scalar_one_or_none()


def tasks(
    session: Session, tenant_id: int, since: datetime, until: datetime, *, limit: int = 1_000
) -> list[tuple[str, int]]:
    """The tasks of which something was delivered in a period, and how much, the busiest first."""
    values = {"tenant": tenant_id, "since": since, "until": until, "among": AMONG, "limit": limit}
    return [(row.task, row.jobs) for row in session.execute(TASKS, values)]


def models(session: Session, tenant_id: int, task: str, since: datetime, until: datetime) -> Sequence[Row[Any]]:
    """What each model did for a task."""
    return session.execute(MODELS, _values(tenant_id, task, since, until)).all()


def faults(session: Session, tenant_id: int, task: str, since: datetime, until: datetime) -> dict[str, dict[str, int]]:
    """By model, how many attempts failed, by code."""
    found: dict[str, dict[str, int]] = {}
    for row in session.execute(FAULTS, _values(tenant_id, task, since, until)):
        found.setdefault(row.model, {})[row.code] = row.attempts
    return found


def audits(session: Session, tenant_id: int, task: str, since: datetime, until: datetime) -> Row[Any]:
    """How many jobs were for us alone and what they cost: the reference's audits, and what shadow and judge were asked."""
    return session.execute(AUDITS, _values(tenant_id, task, since, until)).one()


def escalated(session: Session, tenant_id: int, task: str, since: datetime, until: datetime) -> int:
    """How many jobs a specialist was not sure enough of."""
    return int(session.execute(ESCALATED, _values(tenant_id, task, since, until)).scalar_one())


def agreement(
    session: Session, tenant_id: int, task: str, since: datetime, until: datetime, *, specialist: str
) -> Sequence[Row[Any]]:
    """By kind and probability of the draw, how many verdicts on a version of the specialist agreed."""
    values = {"tenant": tenant_id, "task": task, "since": since, "until": until, "specialist": specialist}
    return session.execute(AGREEMENT, values).all()


def of_stage(session: Session, stage_id: int) -> int:
    """How many second answers have come in a stage, each held against the first."""
    return int(session.execute(OF_STAGE, {"stage": stage_id}).scalar_one())


def _values(tenant_id: int, task: str, since: datetime, until: datetime) -> dict[str, Any]:
    return {"tenant": tenant_id, "task": task, "since": since, "until": until, "among": AMONG}
