"""Webhooks: endpoints, and the outbox of events on their way to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

_ENDPOINT: Final = "id, public_id, name, url, events, secrets, created_at, updated_at, disabled_at, disabled_reason"
ADD: Final = text(f"""
    INSERT INTO webhook_endpoints (public_id, tenant_id, project_id, name, url, events, secrets)
    VALUES (:public_id, :tenant, :project, :name, :url, CAST(:events AS text[]), ARRAY[CAST(:secret AS text)]) RETURNING {_ENDPOINT}
""")
COUNT: Final = text("SELECT count(*) FROM webhook_endpoints WHERE project_id = :project")
LISTED: Final = text(f"""
    SELECT {_ENDPOINT} FROM webhook_endpoints WHERE project_id = :project AND id < :before ORDER BY id DESC LIMIT :limit
""")
FIND: Final = text(f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE public_id = :public_id AND tenant_id = :tenant")
CHANGE: Final = text(f"""
    UPDATE webhook_endpoints SET name = coalesce(:name, name), url = coalesce(:url, url), updated_at = now(),
        events = coalesce(CAST(:events AS text[]), events), disabled_at = NULL, disabled_reason = NULL
    WHERE id = :id RETURNING {_ENDPOINT}
""")
ROTATE: Final = text(f"""
    UPDATE webhook_endpoints SET updated_at = now(),
        secrets = ARRAY[CAST(:secret AS text)] || CASE WHEN CAST(:keep AS boolean) THEN secrets[1:1] ELSE '{{}}' END,
        old_secret_until = CASE WHEN CAST(:keep AS boolean) THEN now() + interval '24 hours' END
    WHERE id = :id RETURNING {_ENDPOINT}
""")
DELETE: Final = text("DELETE FROM webhook_endpoints WHERE id = :id")
DISABLE: Final = text("""
    UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = :reason WHERE id = :id AND disabled_at IS NULL
""")
# One row for each event and endpoint that wants it, in the transaction of what it tells of.
TELL: Final = text("""
    INSERT INTO webhook_deliveries (public_id, tenant_id, endpoint_id, type, payload)
    SELECT gen_random_uuid(), e.tenant_id, e.id, :type, x.payload
    FROM unnest(CAST(:tenants AS bigint[]), CAST(:projects AS bigint[]), CAST(:payloads AS bytea[])) x(tenant, project, payload)
    JOIN webhook_endpoints e ON e.tenant_id = x.tenant AND (x.project IS NULL OR e.project_id = x.project)
    WHERE e.disabled_at IS NULL AND :type = ANY(e.events)
""")
TELL_ONE: Final = text("""
    INSERT INTO webhook_deliveries (public_id, tenant_id, endpoint_id, type, payload, next_at)
    VALUES (:public_id, :tenant, :endpoint, :type, :payload, NULL) RETURNING id
""")
# What is taken is put off for as long as sending may take: a sender that dies leaves it to the next one. The tenant of whom least is
# being sent comes first, and of each endpoint and tenant only so much is looked at as may be sent: a backlog costs nobody else.
TAKE: Final = text("""
    WITH oldest AS (
        SELECT d.id, d.next_at, row_number() OVER (PARTITION BY e.tenant_id ORDER BY d.next_at)
            + cardinality(array_positions(CAST(:tenants AS bigint[]), e.tenant_id)) AS place
        FROM webhook_endpoints e CROSS JOIN LATERAL (
            SELECT id, next_at FROM webhook_deliveries WHERE endpoint_id = e.id AND next_at <= now() ORDER BY next_at
            LIMIT greatest(:of_endpoint - cardinality(array_positions(CAST(:endpoints AS bigint[]), e.id)), 0)
            FOR UPDATE SKIP LOCKED
        ) d
    ), due AS (
        SELECT id FROM oldest WHERE place <= :of_tenant ORDER BY place, next_at LIMIT :limit
    )
    UPDATE webhook_deliveries d SET attempts = d.attempts + 1, next_at = now() + make_interval(secs => :within)
    FROM due, webhook_endpoints e WHERE d.id = due.id AND e.id = d.endpoint_id
    RETURNING d.id, d.public_id, d.tenant_id, d.type, d.payload, d.attempts, d.endpoint_id, e.url, e.disabled_at,
        CASE WHEN e.old_secret_until > now() THEN e.secrets ELSE e.secrets[1:1] END AS secrets
""")
DONE: Final = text("""
    UPDATE webhook_deliveries SET delivered_at = now(), next_at = NULL, last_code = :code, last_detail = :detail, dead_at = NULL
    WHERE id = :id
""")
FAILED: Final = text("""
    UPDATE webhook_deliveries SET last_code = :code, last_detail = :detail,
        next_at = now() + make_interval(secs => :delay), dead_at = CASE WHEN CAST(:delay AS float8) IS NULL THEN now() END
    WHERE id = :id
""")
_DELIVERY: Final = """d.id, d.public_id, d.type, d.created_at, d.next_at, d.attempts, d.last_code, d.last_detail, d.delivered_at,
    d.dead_at, e.public_id AS endpoint"""
DELIVERIES: Final = text(f"""
    SELECT {_DELIVERY} FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.tenant_id = :tenant AND e.project_id = :project AND d.id < :before
        AND (CAST(:endpoint AS bigint) IS NULL OR d.endpoint_id = :endpoint) AND (NOT :dead OR d.dead_at IS NOT NULL)
    ORDER BY d.id DESC LIMIT :limit
""")
FIND_DELIVERY: Final = text(f"""
    SELECT {_DELIVERY} FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.public_id = :public_id AND d.tenant_id = :tenant
""")
REPLAY: Final = text("""
    UPDATE webhook_deliveries SET next_at = now(), attempts = 0, dead_at = NULL, delivered_at = NULL WHERE id = :id
""")
FORGET: Final = text("""
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT id FROM webhook_deliveries WHERE next_at IS NULL AND created_at < now() - make_interval(days => :days) ORDER BY id LIMIT 5000
    )
""")


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to be made."""

    name: str
    url: str
    events: Sequence[str]
    secret: str


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and who is told of it."""

    tenant_id: int
    project_id: int | None
    """None for every project of the tenant."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Shares:
    """The most that is sent at the same time to one endpoint, and of one tenant."""

    of_endpoint: int
    of_tenant: int


def add(session: Session, owner: Owner, public_id: UUID, new: NewEndpoint) -> Row[Any]:
    """Store an endpoint of a project."""
    values = {
        "public_id": public_id, "tenant": owner.tenant_id, "project": owner.project_id, "name": new.name, "url": new.url,
        "events": list(new.events), "secret": new.secret,
    }  # fmt: skip
    return session.execute(ADD, values).one()


def count(session: Session, project_id: int) -> int:
    """How many endpoints a project has."""
    return int(session.execute(COUNT, {"project": project_id}).scalar_one())


def listed(session: Session, project_id: int, *, before: int, limit: int) -> Sequence[Row[Any]]:
    """A project's endpoints, the newest first."""
    return session.execute(LISTED, {"project": project_id, "before": before, "limit": limit}).all()


def find(session: Session, tenant_id: int, public_id: UUID) -> Row[Any] | None:
    """A tenant's endpoint."""
    return session.execute(FIND, {"public_id": public_id, "tenant": tenant_id}).one_or_none()


def change(
    session: Session, endpoint_id: int, *, name: str | None, url: str | None, events: Sequence[str] | None
) -> Row[Any]:
    """Change what is given of an endpoint; one that was disabled is told again."""
    values = {"id": endpoint_id, "name": name, "url": url, "events": None if events is None else list(events)}
    return session.execute(CHANGE, values).one()


def rotate(session: Session, endpoint_id: int, secret: str, *, keep_old: bool) -> Row[Any]:
    """Give an endpoint another secret; with `keep_old` messages are signed with the old one as well, for a day."""
    return session.execute(ROTATE, {"id": endpoint_id, "secret": secret, "keep": keep_old}).one()


def delete(session: Session, endpoint_id: int) -> None:
    """Delete an endpoint with all that was on its way to it."""
    session.execute(DELETE, {"id": endpoint_id})


def disable(session: Session, endpoint_id: int, reason: str) -> None:
    """Tell an endpoint no more."""
    session.execute(DISABLE, {"id": endpoint_id, "reason": reason})


def tell(session: Session, kind: str, told: Sequence[Told]) -> None:
    """Put events of one kind into the outbox, each for every endpoint of its project (or of all projects) that wants it."""
    if not told:
        return
    values = {
        "type": kind, "tenants": [one.tenant_id for one in told], "projects": [one.project_id for one in told],
        "payloads": [one.payload for one in told],
    }  # fmt: skip
    session.execute(TELL, values)


def tell_one(session: Session, tenant_id: int, endpoint_id: int, public_id: UUID, kind: str, payload: bytes) -> int:
    """Put an event for one endpoint into the list of what was sent, which whoever asked for it sends at once."""
    values = {"public_id": public_id, "tenant": tenant_id, "endpoint": endpoint_id, "type": kind, "payload": payload}
    return int(session.execute(TELL_ONE, values).scalar_one())


def take(
    session: Session, limit: int, within_s: float, sending: Sequence[Row[Any]], shares: Shares
) -> Sequence[Row[Any]]:
    """Events that are due, each with its endpoint's address and secrets, put off for as long as sending may take.

    With those that are `sending` already, no endpoint and no tenant has more of them than its share.
    """
    values = {
        "limit": limit, "within": within_s, "endpoints": [row.endpoint_id for row in sending],
        "tenants": [row.tenant_id for row in sending], "of_endpoint": shares.of_endpoint, "of_tenant": shares.of_tenant,
    }  # fmt: skip
    return session.execute(TAKE, values).all()


def done(session: Session, delivery_id: int, code: str, detail: str) -> None:
    """Note that an event was delivered."""
    session.execute(DONE, {"id": delivery_id, "code": code, "detail": detail[:500]})


def failed(session: Session, delivery_id: int, code: str, detail: str, delay_s: float | None) -> None:
    """Note that an attempt failed: the next is after `delay_s`, or the event is dead."""
    session.execute(FAILED, {"id": delivery_id, "code": code, "detail": detail[:500], "delay": delay_s})


def deliveries(session: Session, owner: Owner, given: Mapping[str, Any]) -> Sequence[Row[Any]]:
    """A project's deliveries, the newest first: of one `endpoint`, only the `dead`, `before` an id, at most `limit`."""
    return session.execute(DELIVERIES, {"tenant": owner.tenant_id, "project": owner.project_id, **given}).all()


def find_delivery(session: Session, tenant_id: int, public_id: UUID) -> Row[Any] | None:
    """A tenant's delivery."""
    return session.execute(FIND_DELIVERY, {"public_id": public_id, "tenant": tenant_id}).one_or_none()


def replay(session: Session, delivery_id: int) -> None:
    """Send an event once more from the beginning, whatever became of it."""
    session.execute(REPLAY, {"id": delivery_id})


def forget(session: Session, days: int) -> int:
    """Delete a chunk of deliveries that ended and are old; returns how many."""
    return int(session.execute(FORGET, {"days": days}).rowcount)  # type: ignore[attr-defined]
