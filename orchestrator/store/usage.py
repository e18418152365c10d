"""Usage: sums over the ledger and the attempts that it is for, by any of a few keys together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

By = Literal["tenant", "project", "key", "task", "tier", "model", "day", "batch"]

KEYS: Final[Mapping[By, str]] = {
    "tenant": "(SELECT n.name FROM tenants n WHERE n.id = t.tenant_id)",
    "project": "(SELECT p.name FROM projects p WHERE p.id = t.project_id)",
    "key": "(SELECT 'key_' || replace(k.public_id::text, '-', '') FROM api_keys k WHERE k.id = t.api_key_id)",
    "task": "(SELECT j.task FROM jobs j WHERE j.id = t.job_id)",
    "tier": "t.tier",
    "model": "t.model",
    "day": "(t.created_at AT TIME ZONE 'UTC')::date::text",
    "batch": "(SELECT 'batch_' || replace(b.public_id::text, '-', '') FROM batches b WHERE b.id = t.batch_id)",
}
SUMS: Final = (
    "jobs", "attempts", "failed_attempts", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "charge_usd",
    "cost_usd", "house_usd", "machine_usd", "overrun_usd", "rejected_usd",
)  # fmt: skip

# An attempt has one cost, which its tokens are summed with: no other transfer of it counts them again.
_SUMS: Final = """
    count(*) FILTER (WHERE t.kind = 'charge') AS jobs,
    count(*) FILTER (WHERE t.kind = 'cost') AS attempts,
    count(*) FILTER (WHERE t.kind = 'cost' AND t.debit_account = 'cost:house' AND a.outcome NOT IN ('succeeded', 'rejected')) AS failed_attempts,
    coalesce(sum(a.input_tokens), 0)::bigint AS input_tokens, coalesce(sum(a.cached_tokens), 0)::bigint AS cached_tokens,
    coalesce(sum(a.output_tokens), 0)::bigint AS output_tokens, coalesce(sum(a.reasoning_tokens), 0)::bigint AS reasoning_tokens,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind IN ('charge', 'rejected')), 0) AS charge_usd,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'cost'), 0) AS cost_usd,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'cost' AND t.debit_account = 'cost:house'), 0) AS house_usd,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'machine'), 0) AS machine_usd,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'overrun'), 0) AS overrun_usd,
    coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'rejected'), 0) AS rejected_usd
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be summed."""

    by: tuple[By, ...]
    tenant_id: int | None
    """None for all of them, which only a role that sees all may ask."""
    since: datetime | None = None
    until: datetime | None = None
    batch_id: int | None = None


@cache
def _statement(by: tuple[By, ...]) -> TextClause:
    keys = "".join(f"{KEYS[one]} AS {one}, " for one in by)
    grouped = f"GROUP BY {', '.join(str(place) for place in range(1, len(by) + 1))}" if by else ""
    ordered = grouped.replace("GROUP", "ORDER")
    return text(f"""
        SELECT {keys}{_SUMS} FROM transfers t
        LEFT JOIN attempts a ON t.kind = 'cost' AND a.job_id = t.job_id AND a.attempt = t.attempt
        WHERE (CAST(:tenant AS bigint) IS NULL OR t.tenant_id = :tenant)
            AND (CAST(:batch AS bigint) IS NULL OR t.batch_id = :batch)
            AND (CAST(:since AS timestamptz) IS NULL OR t.created_at >= :since)
            AND (CAST(:until AS timestamptz) IS NULL OR t.created_at < :until)
        {grouped} {ordered}
    """)


def sums(session: Session, asked: Asked) -> Sequence[Row[Any]]:
    """The sums by the keys that are asked for, in their order: exactly what the ledger says now. Reads all that it sums."""
    values = {"tenant": asked.tenant_id, "batch": asked.batch_id, "since": asked.since, "until": asked.until}
    return session.execute(_statement(asked.by), values).all()
