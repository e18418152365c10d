"""What a submission of one needs: idempotency keys, and deadlines by the database's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

REMEMBER: Final = text("""
    INSERT INTO idempotency_keys (tenant_id, key, request_hash, target_id) VALUES (:tenant, :key, :hash, :target)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING target_id
""")
RECALL: Final = text("SELECT request_hash, target_id FROM idempotency_keys WHERE tenant_id = :tenant AND key = :key")
FORGET: Final = text("DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(days => :days)")
DEADLINE: Final = text("SELECT now() + make_interval(secs => :seconds)")


def remember_key(session: Session, tenant_id: int, key: str, request_hash: bytes, target: UUID) -> bool:
    """Bind an idempotency key to what is about to be made; False if it is bound already. Waits for a twin in flight."""
    values = {"tenant": tenant_id, "key": key, "hash": request_hash, "target": target}
    return session.execute(REMEMBER, values).one_or_none() is not None


def recall_key(session: Session, tenant_id: int, key: str) -> tuple[bytes, UUID] | None:
    """The request hash and the target of an idempotency key."""
    row = session.execute(RECALL, {"tenant": tenant_id, "key": key}).one_or_none()
    return (bytes(row[0]), row[1]) if row else None


def forget_keys(session: Session, days: int) -> None:
    """Drop idempotency keys older than the retention."""
    session.execute(FORGET, {"days": days})


def deadline_in(session: Session, seconds: float) -> datetime:
    """The moment so many seconds from now, by the database's clock."""
    moment: datetime = session.execute(DEADLINE, {"seconds": seconds}).scalar_one()
    return moment
