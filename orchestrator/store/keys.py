"""API keys: looked up by their hash, made, listed, rotated and revoked."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

# That a key was used is noted once a minute: a write at every look would make its row hot.
FIND: Final = text("""
    WITH found AS (
        SELECT k.id, k.public_id, k.tenant_id, k.project_id, k.hash, k.scopes, k.last_used_at, k.expires_at, t.name AS tenant
        FROM api_keys k JOIN projects p ON p.id = k.project_id JOIN tenants t ON t.id = k.tenant_id
        WHERE k.hash = :hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
            AND p.disabled_at IS NULL AND t.disabled_at IS NULL
    ), used AS (
        UPDATE api_keys SET last_used_at = now() FROM found WHERE api_keys.id = found.id
            AND (found.last_used_at IS NULL OR found.last_used_at < now() - interval '1 minute')
    )
    SELECT * FROM found
""")
ADD: Final = text("""
    INSERT INTO api_keys (public_id, tenant_id, project_id, name, hash, prefix, scopes, expires_at)
    VALUES (:public_id, :tenant, :project, :name, :hash, :prefix, CAST(:scopes AS text[]), now() + make_interval(secs => :within))
    RETURNING expires_at
""")
LISTED: Final = text("""
    SELECT k.id, k.public_id, k.name, k.prefix, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at, p.name AS project,
        CAST(extract(epoch FROM k.expires_at - k.created_at) AS float8) AS lifetime_s, coalesce(k.expires_at <= now(), false) AS has_expired
    FROM api_keys k JOIN projects p ON p.id = k.project_id
    WHERE k.tenant_id = :tenant AND (CAST(:key AS uuid) IS NULL OR k.public_id = :key)
        AND (CAST(:name AS text) IS NULL OR k.name = :name) ORDER BY k.id LIMIT 1000
""")
REVOKE: Final = text("""
    UPDATE api_keys SET revoked_at = now() WHERE public_id = :key AND tenant_id = :tenant AND revoked_at IS NULL
""")
EXPIRE: Final = text("""
    UPDATE api_keys SET expires_at = least(coalesce(expires_at, 'infinity'), now() + make_interval(secs => :within))
    WHERE id = :id AND revoked_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: whose the key is, and what it may do."""

    owner: Owner
    scopes: frozenset[str]
    key: str
    """The key's public id, 32 hexadecimal digits."""
    is_house: bool
    """Whether it is a key of whoever runs the installation."""
    expires_at: datetime | None = None


def find(session: Session, key_hash: bytes) -> Identity | None:
    """Whose a key is, or None if it is unknown, revoked, expired, or its project or tenant is disabled."""
    row = session.execute(FIND, {"hash": key_hash}).one_or_none()
    if row is None or not hmac.compare_digest(bytes(row.hash), key_hash):
        return None
    owner = Owner(row.tenant_id, row.project_id, row.id)
    return Identity(owner, frozenset(row.scopes), row.public_id.hex, row.tenant == "default", row.expires_at)


def add(
    session: Session, public_id: UUID, owner: tuple[int, int], *, name: str, key_hash: bytes, prefix: str, scopes: Sequence[str],
    within_s: float | None,
) -> datetime | None:  # fmt: skip
    """Store the hash of a new key of a tenant's project; returns when it expires."""
    values = {
        "public_id": public_id, "tenant": owner[0], "project": owner[1], "name": name, "hash": key_hash, "prefix": prefix,
        "scopes": list(scopes), "within": within_s,
    }  # fmt: skip
    expires_at: datetime | None = session.execute(ADD, values).scalar_one()
    return expires_at


def listed(
    session: Session, tenant_id: int, public_id: UUID | None = None, name: str | None = None
) -> Sequence[Row[Any]]:
    """A tenant's keys in the order of their making, or one of them; never their hashes."""
    return session.execute(LISTED, {"tenant": tenant_id, "key": public_id, "name": name}).all()


def revoke(session: Session, tenant_id: int, public_id: UUID) -> bool:
    """Revoke a key for good; False if there is none that is not revoked."""
    return bool(session.execute(REVOKE, {"tenant": tenant_id, "key": public_id}).rowcount)  # type: ignore[attr-defined]


def expire(session: Session, key_id: int, within_s: float) -> None:
    """Let a key expire after so long, unless it does sooner."""
    session.execute(EXPIRE, {"id": key_id, "within": within_s})
