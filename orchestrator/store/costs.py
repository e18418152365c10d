"""Sums over the ledger: what was charged, what it cost, and what of that we bore ourselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

By = Literal["batch", "tier", "model", "day"]

_KEYS: Final[Mapping[By, str]] = {
    "batch": "coalesce('batch_' || replace(b.public_id::text, '-', ''), 'none')",
    "tier": "t.tier",
    "model": "t.model",
    "day": "(t.created_at AT TIME ZONE 'UTC')::date::text",
}


def _sums(key: str, where: str) -> TextClause:
    return text(f"""
        SELECT {key} AS key,
            count(*) FILTER (WHERE t.kind = 'charge') AS jobs,
            count(*) FILTER (WHERE t.kind = 'cost') AS attempts,
            coalesce(sum(t.amount_usd) FILTER (WHERE t.kind IN ('charge', 'rejected')), 0) AS charge_usd,
            coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'rejected'), 0) AS rejected_usd,
            coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'cost'), 0) AS cost_usd,
            coalesce(sum(t.amount_usd) FILTER (WHERE t.kind = 'cost' AND t.debit_account = 'cost:house'), 0) AS house_usd
        FROM transfers t LEFT JOIN batches b ON b.id = t.batch_id
        WHERE t.tenant_id = :tenant {where}
        GROUP BY 1 ORDER BY 1
    """)


ALL: Final = {by: _sums(key, "") for by, key in _KEYS.items()}
OF_BATCH: Final = {by: _sums(key, "AND t.batch_id = :batch") for by, key in _KEYS.items()}


@dataclass(frozen=True, slots=True)
class Sum:
    """What one batch, tier, model or day comes to."""

    key: str
    """`none` for jobs outside batches."""
    jobs: int
    """Jobs that were charged."""
    attempts: int
    charge_usd: Decimal
    rejected_usd: Decimal
    """The part of the charge that is for answers which were not accepted, and of which another model took over."""
    cost_usd: Decimal
    """Of every attempt, those that failed included."""
    house_usd: Decimal
    """The part of the cost that no caller pays."""


def sums(session: Session, tenant_id: int, by: By, batch_id: int | None = None) -> list[Sum]:
    """A tenant's sums in the order of their keys, all of them or those of one batch."""
    if batch_id is None:
        return [Sum(*row) for row in session.execute(ALL[by], {"tenant": tenant_id})]
    return [Sum(*row) for row in session.execute(OF_BATCH[by], {"tenant": tenant_id, "batch": batch_id})]


def total(parts: Sequence[Sum]) -> Sum:
    """The sum of sums."""
    zero = Decimal(0)
    return Sum(
        "total",
        sum(one.jobs for one in parts),
        sum(one.attempts for one in parts),
        sum((one.charge_usd for one in parts), zero),
        sum((one.rejected_usd for one in parts), zero),
        sum((one.cost_usd for one in parts), zero),
        sum((one.house_usd for one in parts), zero),
    )
