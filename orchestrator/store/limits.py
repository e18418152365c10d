"""Setting limits: budgets with what is held and spent of them so far, quotas, and the alerts that budgets are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.store.budgets import BOOKS, SPENT, START, Period, Scope
from orchestrator.store.invariants import OPEN_BATCH

LOCK_TENANT: Final = text(
    f"SELECT b.id FROM budgets b WHERE {BOOKS} AND b.tenant_id = :tenant ORDER BY b.id FOR UPDATE"
)
SET_BOOKS: Final = text("""
    UPDATE budgets SET limit_usd = :limit, alerted = 0, refused_at = NULL
    WHERE scope = 'project' AND period = 'total' AND scope_id = :scope_id AND tenant_id = :tenant
""")
DROP: Final = text("""
    DELETE FROM budgets WHERE scope = :scope AND scope_id = :scope_id AND period = :period AND tenant_id = :tenant
""")
# Of a batch that is still read nothing is held yet: it is when the batch is opened, by this budget as well.
_HELD_BY_KEY: Final = f"""
    SELECT coalesce(sum(held_usd), 0) FROM (
        SELECT j.held_usd FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.api_key_id = :scope_id AND {OPEN_BATCH}
        UNION ALL SELECT held_usd FROM jobs WHERE state = 1 AND requeued AND api_key_id = :scope_id
        UNION ALL SELECT held_usd FROM jobs WHERE state = 3 AND api_key_id = :scope_id
        UNION ALL SELECT j.held_usd FROM dispatches d CROSS JOIN unnest(d.job_ids) x(id) JOIN jobs j ON j.id = x.id
            WHERE d.ended_at IS NULL AND j.dispatch_id = d.id AND j.state = 2 AND j.api_key_id = :scope_id
    ) open
"""
_HELD: Final[Mapping[str, str]] = {
    "tenant": f"SELECT coalesce(sum(b.held_usd), 0) FROM budgets b WHERE {BOOKS} AND b.tenant_id = :scope_id",
    "project": f"SELECT b.held_usd FROM budgets b WHERE {BOOKS} AND b.scope_id = :scope_id",
    "key": _HELD_BY_KEY,
}
_OF_SCOPE: Final[Mapping[str, str]] = {
    "tenant": "t.tenant_id = :scope_id",
    "project": "t.project_id = :scope_id",
    "key": "t.api_key_id = :scope_id",
}
SET: Final = {
    scope: text(f"""
        WITH b AS (SELECT CAST(:period AS text) AS period)
        INSERT INTO budgets (tenant_id, scope, scope_id, period, limit_usd, held_usd, spent_usd, period_start)
        SELECT :tenant, '{scope}', :scope_id, b.period, :limit, ({_HELD[scope]}), (
            SELECT coalesce(sum(t.amount_usd), 0) FROM transfers t
            WHERE t.kind IN ('charge', 'rejected') AND {_OF_SCOPE[scope]} AND t.created_at >= {START}
        ), {START} FROM b
        ON CONFLICT (scope, scope_id, period) DO UPDATE SET limit_usd = excluded.limit_usd, alerted = 0, refused_at = NULL
    """)
    for scope in _HELD
}
LISTED: Final = text(f"""
    SELECT b.scope, b.scope_id, b.period, b.limit_usd, b.held_usd, {SPENT} AS spent_usd,
        p.public_id AS project, p.name AS project_name, k.public_id AS key, k.name AS key_name
    FROM budgets b LEFT JOIN projects p ON b.scope = 'project' AND p.id = b.scope_id
    LEFT JOIN api_keys k ON b.scope = 'key' AND k.id = b.scope_id
    WHERE b.tenant_id = :tenant AND b.scope <> 'batch' ORDER BY b.scope, b.scope_id, b.period
""")
# Nothing of a period that begins was told yet; where work began it, the schema says so (from 0005 on).
BEGIN: Final = text(f"""
    UPDATE budgets SET spent_usd = 0, alerted = 0, period_start = old.start
    FROM (
        SELECT b.id, {START} AS start FROM budgets b
        WHERE b.limit_usd IS NOT NULL AND b.scope <> 'batch' AND b.period_start < {START} FOR UPDATE SKIP LOCKED
    ) old WHERE budgets.id = old.id
""")
DUE: Final = text(f"""
    WITH now_at AS (
        SELECT b.id, b.tenant_id, b.scope, b.scope_id, b.period, b.limit_usd, b.held_usd, b.spent_usd, b.alerted,
            CASE WHEN b.refused_at >= {START} AND b.refused_at IS NOT NULL THEN 100
                WHEN b.limit_usd = 0 THEN 100
                ELSE floor(100 * (b.spent_usd + b.held_usd) / b.limit_usd) END AS percent
        FROM budgets b WHERE b.limit_usd IS NOT NULL AND b.scope <> 'batch' AND b.period_start >= {START} FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT *, CASE WHEN percent >= 100 THEN 100 WHEN percent >= 80 THEN 80 WHEN percent >= 50 THEN 50 ELSE 0 END AS step FROM now_at
    ), told AS (
        UPDATE budgets SET alerted = due.step FROM due WHERE budgets.id = due.id AND due.step > due.alerted RETURNING budgets.id
    )
    SELECT due.tenant_id, due.scope, due.period, due.limit_usd, due.held_usd, due.spent_usd, due.step,
        coalesce(k.public_id, p.public_id, t.public_id) AS public_id, coalesce(k.project_id, p.id) AS project_id
    FROM due JOIN told ON told.id = due.id JOIN tenants t ON t.id = due.tenant_id
    LEFT JOIN projects p ON due.scope = 'project' AND p.id = due.scope_id
    LEFT JOIN api_keys k ON due.scope = 'key' AND k.id = due.scope_id
""")
QUOTA_FIELDS: Final = ("requests_per_minute", "tokens_per_minute", "jobs_queued", "jobs_in_flight", "file_bytes")
SET_QUOTA: Final = text(f"""
    INSERT INTO quotas (scope, scope_id, tenant_id, {", ".join(QUOTA_FIELDS)})
    VALUES (:scope, :scope_id, :tenant, {", ".join(f":{name}" for name in QUOTA_FIELDS)})
    ON CONFLICT (scope, scope_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in QUOTA_FIELDS)}
""")
DROP_QUOTA: Final = text("DELETE FROM quotas WHERE scope = :scope AND scope_id = :scope_id AND tenant_id = :tenant")
QUOTAS: Final = text("SELECT * FROM quotas WHERE tenant_id = :tenant ORDER BY scope, scope_id")
# Open batches are few, and what ended of each is counted; singles are counted over the indexes of those that have not ended.
_OF: Final[Mapping[str, str]] = {"tenant": "tenant_id", "project": "project_id", "key": "api_key_id"}
OPEN_JOBS: Final = {
    scope: text(f"""
        SELECT coalesce((
            SELECT sum(b.total - (SELECT coalesce(sum(p.jobs), 0) FROM batch_progress p WHERE p.batch_id = b.id))
            FROM batches b WHERE b.status IN ('in_progress', 'cancelling') AND b.{column} = :scope_id
        ), 0) + (
            SELECT count(*) FROM projects p CROSS JOIN unnest(CAST(:models AS text[])) m(model) CROSS JOIN LATERAL (
                SELECT j.{column} FROM jobs j WHERE j.model = m.model AND j.lane = -p.id AND j.state = 1 AND NOT j.requeued AND NOT j.unbilled
            ) queued WHERE p.tenant_id = :tenant AND queued.{column} = :scope_id
        ) + (
            SELECT count(*) FROM dispatches d CROSS JOIN unnest(d.job_ids) x(id) JOIN jobs j ON j.id = x.id
            WHERE d.ended_at IS NULL AND j.batch_id = 0 AND j.state = 2 AND NOT j.unbilled AND j.{column} = :scope_id
        )
    """)
    for scope, column in _OF.items()
}
FILE_BYTES: Final = text("""
    SELECT coalesce(sum(bytes), 0) FROM files WHERE tenant_id = :tenant AND deleted_at IS NULL
        AND (CAST(:project AS bigint) IS NULL OR project_id = :project) AND (CAST(:key AS bigint) IS NULL OR api_key_id = :key)
""")


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one scope; None where there is none."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    jobs_queued: int | None = None
    jobs_in_flight: int | None = None
    file_bytes: int | None = None


def set_budget(
    session: Session, tenant_id: int, scope: Scope, scope_id: int, period: Period, limit_usd: Decimal | None
) -> None:
    """Set, change or take away (None) a limit; what is held and spent already counts to it.

    It binds what is admitted and assigned from now on: what runs keeps the hold that it has.
    """
    session.execute(LOCK_TENANT, {"tenant": tenant_id}).all()
    values = {"tenant": tenant_id, "scope": scope, "scope_id": scope_id, "period": period, "limit": limit_usd}
    if scope == "project" and period == "total":
        session.execute(SET_BOOKS, values)
    elif limit_usd is None:
        session.execute(DROP, values)
    else:
        session.execute(SET[scope], values)


def budgets(session: Session, tenant_id: int) -> Sequence[Row[Any]]:
    """A tenant's budgets, with what is held and spent in their present period."""
    return session.execute(LISTED, {"tenant": tenant_id}).all()


def due_alerts(session: Session) -> Sequence[Row[Any]]:
    """Budgets that came to 50, 80 or 100% of their limit since they were last told of, marked as told.

    Each with its own public id, and the project of a project's budget or a key's.
    """
    session.execute(BEGIN)
    return session.execute(DUE).all()


def set_quota(session: Session, tenant_id: int, scope: Scope, scope_id: int, quota: Quota) -> None:
    """Set the quotas of a scope; where none is left, its row goes."""
    values = {"scope": scope, "scope_id": scope_id, "tenant": tenant_id, **asdict(quota)}
    session.execute(DROP_QUOTA if quota == Quota() else SET_QUOTA, values)


def quotas(session: Session, tenant_id: int) -> dict[tuple[str, int], Quota]:
    """A tenant's quotas by scope and id."""
    return {
        (row.scope, row.scope_id): Quota(*(getattr(row, name) for name in QUOTA_FIELDS))
        for row in session.execute(QUOTAS, {"tenant": tenant_id})
    }


def open_jobs(session: Session, scope: str, scope_id: int, tenant_id: int, models: Sequence[str]) -> int:
    """How many jobs of a scope have not ended."""
    values = {"scope_id": scope_id, "tenant": tenant_id, "models": list(models)}
    return int(session.execute(OPEN_JOBS[scope], values).scalar_one())


def file_bytes(session: Session, tenant_id: int, *, project_id: int | None = None, key_id: int | None = None) -> int:
    """Bytes of the files that a tenant keeps, or one of its projects or keys."""
    return int(session.execute(FILE_BYTES, {"tenant": tenant_id, "project": project_id, "key": key_id}).scalar_one())
