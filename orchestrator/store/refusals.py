"""Refusals: work that came as a Celery message and was refused, with the reason. The list of dead letters.

Written and read by the role `orchestrator`: whoever sent such work may have had no key, so that no tenant holds for its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

MOST_REQUEST_BYTES: Final = 256 * 1024
"""What is kept of a request that was refused."""

ADD: Final = text("""
    INSERT INTO refusals (tenant_id, task_id, code, message, request) VALUES (:tenant, :task_id, :code, :message, :request)
    RETURNING id
""")
_SHOWN: Final = "id, task_id, code, message, created_at, octet_length(request) AS request_bytes"
# One statement for each kind of reader, so that each can be planned.
LISTED: Final = text(f"""
    SELECT {_SHOWN} FROM refusals WHERE tenant_id = :tenant AND id < :before ORDER BY id DESC LIMIT :limit
""")
UNKNOWN: Final = text(f"""
    SELECT {_SHOWN} FROM refusals WHERE tenant_id IS NULL AND id < :before ORDER BY id DESC LIMIT :limit
""")
FIND: Final = text(f"""
    SELECT {_SHOWN}, request FROM refusals WHERE id = :id AND tenant_id IS NOT DISTINCT FROM CAST(:tenant AS bigint)
""")
OF_TASK: Final = text("""
    SELECT id, code, message FROM refusals WHERE tenant_id = :tenant AND task_id = :task_id ORDER BY id DESC LIMIT 1
""")
COUNT: Final = text("SELECT count(*) FROM refusals WHERE tenant_id IS NOT DISTINCT FROM CAST(:tenant AS bigint)")
FORGET: Final = text("""
    DELETE FROM refusals WHERE id IN (
        SELECT id FROM refusals
        WHERE created_at < now() - make_interval(days => :days) OR id <= (SELECT max(id) FROM refusals) - :keep
        ORDER BY id LIMIT 5000
    )
""")


@dataclass(frozen=True, slots=True)
class NewRefusal:
    """A refusal to be kept. It holds no key: whoever makes it has taken it out."""

    tenant_id: int | None
    """None where no key told it."""
    task_id: str
    code: str
    message: str
    request: bytes | None
    """What was asked, as JSON; only its beginning is kept where it is large."""


def add(session: Session, new: NewRefusal) -> int:
    """Keep a refusal; returns its id."""
    request = None if new.request is None else new.request[:MOST_REQUEST_BYTES]
    values = {
        "tenant": new.tenant_id, "task_id": new.task_id, "code": new.code, "message": new.message[:2_000], "request": request,
    }  # fmt: skip
    return int(session.execute(ADD, values).scalar_one())


def listed(session: Session, tenant_id: int | None, *, before: int, limit: int) -> Sequence[Row[Any]]:
    """A tenant's refusals without their requests, the newest first; with None those that no key told whose they are."""
    if tenant_id is None:
        return session.execute(UNKNOWN, {"before": before, "limit": limit}).all()
    return session.execute(LISTED, {"tenant": tenant_id, "before": before, "limit": limit}).all()


def find(session: Session, tenant_id: int | None, refusal_id: int) -> Row[Any] | None:
    """A tenant's refusal with its request; with None one that no key told whose it is."""
    return session.execute(FIND, {"id": refusal_id, "tenant": tenant_id}).one_or_none()


def of_task(session: Session, tenant_id: int, task_id: str) -> Row[Any] | None:
    """The latest refusal of what a tenant's Celery task asked for."""
    return session.execute(OF_TASK, {"tenant": tenant_id, "task_id": task_id}).one_or_none()


def count(session: Session, tenant_id: int | None) -> int:
    """How many refusals a tenant has; with None how many no key told whose they are."""
    return int(session.execute(COUNT, {"tenant": tenant_id}).scalar_one())


def forget(session: Session, days: int, *, keep: int = 20_000) -> int:
    """Delete a chunk of the refusals that are old, or beyond the newest `keep` of all; returns how many."""
    return int(session.execute(FORGET, {"days": days, "keep": keep}).rowcount)  # type: ignore[attr-defined]
