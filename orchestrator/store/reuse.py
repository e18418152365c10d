"""Results that were paid for: found again by the key of their document, task, route and parameters, within the tenant.

Of one that a person corrected, the newest version is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text

from orchestrator.store.session import Database

# One that is there already, or that retention has taken since, is none: a result is looked for only among those that are.
FIND: Final = text("""
    SELECT j.id, j.public_id, j.tier, j.model, coalesce(v.body, r.body) AS body, CASE WHEN v.body IS NULL THEN r.blob_key END AS blob_key, q.features
    FROM jobs j JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    JOIN job_requests q ON q.job_id = j.id AND q.stored_on = j.stored_on
    LEFT JOIN LATERAL (SELECT body FROM result_versions WHERE job_id = j.id ORDER BY version DESC LIMIT 1) v ON true
    WHERE j.tenant_id = :tenant AND j.reuse_key = :key AND j.state = 10
    ORDER BY j.id DESC LIMIT 1
""")
KNOWN: Final = text("""
    SELECT DISTINCT j.reuse_key FROM jobs j JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on
    WHERE j.tenant_id = :tenant AND j.reuse_key = ANY(CAST(:keys AS bytea[])) AND j.state = 10
""")


@dataclass(frozen=True, slots=True)
class Reused:
    """A result that is taken over."""

    job_id: int
    public_id: UUID
    tier: str
    model: str
    body: bytes | None
    blob_key: str | None
    features: str
    """What was known of the request, as JSON."""


def find(database: Database, tenant_id: int, key: bytes) -> Reused | None:
    """The newest result of a key, or None."""
    for row in database.at_once(FIND, {"tenant": tenant_id, "key": key}):
        return Reused(row.id, row.public_id, row.tier, row.model, row.body, row.blob_key, row.features)
    return None


def known(database: Database, tenant_id: int, keys: Sequence[bytes]) -> set[bytes]:
    """Those of some keys that have a result."""
    with database.unit_of_work(tenant_id) as session:
        return {bytes(one) for one in session.execute(KNOWN, {"tenant": tenant_id, "keys": list(keys)}).scalars()}
