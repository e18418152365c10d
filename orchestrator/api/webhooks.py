"""`/v1/webhook_endpoints`, as the official client manages them, and `/v1/webhook_deliveries`: what was sent, what is dead, replay."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from sqlalchemy.orm import Session
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import SENDERS, Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, Conflict, InvalidRequest, NotFound, ServiceUnavailable
from orchestrator.flow import quotas
from orchestrator.flow.notify import message_id
from orchestrator.store import webhooks
from orchestrator.store.webhooks import NewEndpoint
from orchestrator.webhooks import events
from orchestrator.webhooks.address import checked_url
from orchestrator.webhooks.events import EventType
from orchestrator.webhooks.send import Sender
from orchestrator.webhooks.sign import masked, new_secret

router = APIRouter(prefix="/v1", tags=["webhooks"])

MOST_ENDPOINTS: Final = 50
"""Of a project."""
MOST_TESTS: Final = 4 * SENDERS
"""Of one API process: each thread that tries endpoints out has a few that wait for it."""
MOST_TESTS_OF_TENANT: Final = 2
"""So that one tenant whose receivers hang leaves threads to others."""
FULL_RETRY_S: Final = 10.0


@router.get("/webhook_event_types")
async def event_types(owner: Reader) -> Response:  # noqa: ARG001 - a key is asked for
    """The events that an endpoint may be told of."""
    return answer({"object": "list", "data": [str(kind) for kind in EventType]})


@router.post("/webhook_endpoints", openapi_extra=schemas.body_of(schemas.CreateWebhook))
async def create(request: Request, owner: Submitter) -> Response:
    """Make an endpoint; `signing_secret` is shown this once, and when it is rotated."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateWebhook, await read_object(request))
    return answer(await serving.submit(_create, serving, owner, wanted))


@router.get("/webhook_endpoints")
async def listed(
    request: Request,
    owner: Reader,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The project's endpoints, the newest first."""
    serving = serving_of(request)
    return answer(await serving.read(_list, serving, owner, after, limit))


@router.get("/webhook_endpoints/{endpoint_id}")
async def show(endpoint_id: str, request: Request, owner: Reader) -> Response:
    """One endpoint."""
    serving = serving_of(request)
    return answer(await serving.read(_show, serving, owner, endpoint_id))


@router.post("/webhook_endpoints/{endpoint_id}", openapi_extra=schemas.body_of(schemas.ChangeWebhook))
async def change(endpoint_id: str, request: Request, owner: Submitter) -> Response:
    """Change an endpoint; one that was disabled is told again."""
    serving = serving_of(request)
    wanted = checked(schemas.ChangeWebhook, await read_object(request))
    return answer(await serving.submit(_change, serving, owner, endpoint_id, wanted))


@router.delete("/webhook_endpoints/{endpoint_id}")
async def delete(endpoint_id: str, request: Request, owner: Submitter) -> Response:
    """Delete an endpoint with all that was on its way to it."""
    serving = serving_of(request)
    await serving.submit(_delete, serving, owner, endpoint_id)
    return answer({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


@router.post("/webhook_endpoints/{endpoint_id}/rotate_secret", openapi_extra=schemas.body_of(schemas.RotateSecret))
async def rotate_secret(endpoint_id: str, request: Request, owner: Submitter) -> Response:
    """Give an endpoint another secret; for a day messages are signed with both, if that is asked for."""
    serving = serving_of(request)
    wanted = checked(schemas.RotateSecret, await read_object(request))
    keep = wanted.keep_old_secret_active_for_24_hours
    return answer(await serving.submit(_rotate, serving, owner, endpoint_id, keep_old=keep))


@router.post("/webhook_endpoints/{endpoint_id}/test", openapi_extra=schemas.body_of(schemas.TestWebhook))
async def test(endpoint_id: str, request: Request, owner: Submitter) -> Response:
    """Send a sample event now, once; what comes back is an error where the receiver did not take it."""
    serving = serving_of(request)
    wanted = checked(schemas.TestWebhook, await read_object(request))
    kind = _event(wanted.event_type)
    full = Backpressure("Too many webhook endpoints are tried out just now. Try again.", retry_after_s=FULL_RETRY_S)
    with serving.testers.one(owner.tenant_id, most=MOST_TESTS, most_of_tenant=MOST_TESTS_OF_TENANT, full=full):
        return answer(await serving.send(_test, serving, owner, endpoint_id, kind))


@router.get("/webhook_deliveries")
async def deliveries(
    request: Request,
    owner: Reader,
    endpoint: Annotated[str | None, Query(max_length=128)] = None,
    dead: Annotated[bool, Query(description="Only those that were given up.")] = False,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """What was sent or is on its way, the newest first, with what the receiver said last."""
    serving = serving_of(request)
    return answer(await serving.read(_deliveries, serving, owner, endpoint, after, limit, dead=dead))


@router.post("/webhook_deliveries/{delivery_id}/replay")
async def replay(delivery_id: str, request: Request, owner: Submitter) -> Response:
    """Send an event once more from the beginning, whatever became of it."""
    serving = serving_of(request)
    return answer(await serving.submit(_replay, serving, owner, delivery_id))


def _event(name: str) -> EventType:
    try:
        return EventType(name)
    except ValueError:
        raise InvalidRequest(
            f"There is no event {name[:80]!r}. Known: {', '.join(EventType)}.", param="event_types"
        ) from None


def _create(serving: Serving, owner: Owner, wanted: schemas.CreateWebhook) -> dict[str, Any]:
    kinds = [_event(name) for name in wanted.event_types]
    url = checked_url(wanted.url, serving.context.settings.networks).url
    secret = new_secret()
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        if webhooks.count(session, owner.project_id) >= MOST_ENDPOINTS:
            raise Conflict(f"The project has {MOST_ENDPOINTS} endpoints already. Delete one first.")
        row = webhooks.add(session, owner, ids.uuid7(), NewEndpoint(wanted.name, url, kinds, secret))
    return _endpoint(row) | {"signing_secret": secret}


def _list(serving: Serving, owner: Owner, after: str | None, limit: int) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        before = 2**62 if after is None else _found(session, owner, after).id
        rows = webhooks.listed(session, owner.project_id, before=before, limit=limit + 1)
    return page([_endpoint(row) for row in rows[:limit]], has_more=len(rows) > limit)


def page(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list, as the official client pages through it."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def _show(serving: Serving, owner: Owner, endpoint_id: str) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        return _endpoint(_found(session, owner, endpoint_id))


def _change(serving: Serving, owner: Owner, endpoint_id: str, wanted: schemas.ChangeWebhook) -> dict[str, Any]:
    url = checked_url(wanted.url, serving.context.settings.networks).url if wanted.url is not None else None
    kinds = None if wanted.event_types is None else [_event(name) for name in wanted.event_types]
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner, endpoint_id)
        if wanted == schemas.ChangeWebhook():
            return _endpoint(row)
        return _endpoint(webhooks.change(session, row.id, name=wanted.name, url=url, events=kinds))


def _delete(serving: Serving, owner: Owner, endpoint_id: str) -> None:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        webhooks.delete(session, _found(session, owner, endpoint_id).id)


def _rotate(serving: Serving, owner: Owner, endpoint_id: str, *, keep_old: bool) -> dict[str, Any]:
    secret = new_secret()
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = webhooks.rotate(session, _found(session, owner, endpoint_id).id, secret, keep_old=keep_old)
    return _endpoint(row) | {"signing_secret": secret}


def _test(serving: Serving, owner: Owner, endpoint_id: str, kind: EventType) -> dict[str, Any]:
    quotas.take(serving.context, owner, 0)
    database, public_id = serving.context.database, ids.uuid7()
    with database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner, endpoint_id)
        payload = events.sample(kind, ids.public("evt", ids.uuid7()), int(time.time()), ids.public("we", row.public_id))
        delivery = webhooks.tell_one(session, owner.tenant_id, row.id, public_id, kind, payload)
    sent = Sender(serving.context.settings.networks).send(row.url, row.secrets[:1], message_id(public_id), payload)
    with database.unit_of_work(owner.tenant_id) as session:
        if sent.delivered:
            webhooks.done(session, delivery, sent.code, sent.detail)
        else:
            webhooks.failed(session, delivery, sent.code, sent.detail, None)
    if sent.http_status is None:
        unreached = ServiceUnavailable(f"{sent.detail} ({sent.code})", retry_after_s=30.0)
        unreached.headers["x-should-retry"] = "false"  # whoever tries an endpoint out wants to know now
        raise unreached
    # At OpenAI `success` says that an answer came; which one, `status_code` says.
    return {
        "object": "webhook_endpoint.test", "event_type": kind, "status_code": sent.http_status, "success": True,
        "webhook_endpoint_id": endpoint_id,
    }  # fmt: skip


def _deliveries(
    serving: Serving, owner: Owner, endpoint: str | None, after: str | None, limit: int, *, dead: bool
) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        wanted = None if endpoint is None else _found(session, owner, endpoint).id
        before = 2**62 if after is None else _found_delivery(session, owner, after).id
        given = {"endpoint": wanted, "before": before, "dead": dead, "limit": limit + 1}
        rows = webhooks.deliveries(session, owner, given)
    return page([_delivery(row) for row in rows[:limit]], has_more=len(rows) > limit)


def _replay(serving: Serving, owner: Owner, delivery_id: str) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        webhooks.replay(session, _found_delivery(session, owner, delivery_id).id)
        row = _found_delivery(session, owner, delivery_id)
    serving.context.broker.wake("notify")
    return _delivery(row)


def _found(session: Session, owner: Owner, endpoint_id: str) -> Row[Any]:
    row = webhooks.find(session, owner.tenant_id, ids.parse("we", endpoint_id))
    if row is None:
        raise NotFound(f"There is no webhook endpoint {endpoint_id[:80]!r}.")
    return row


def _found_delivery(session: Session, owner: Owner, delivery_id: str) -> Row[Any]:
    row = webhooks.find_delivery(session, owner.tenant_id, ids.parse("msg", delivery_id))
    if row is None:
        raise NotFound(f"There is no webhook delivery {delivery_id[:80]!r}.")
    return row


def _endpoint(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("we", row.public_id), "object": "webhook_endpoint", "created_at": int(row.created_at.timestamp()),
        "updated_at": int(row.updated_at.timestamp()), "name": row.name, "url": row.url, "event_types": row.events,
        "signing_secret_hint": masked(row.secrets[0]),
        "rightsize": {
            "disabled_at": int(row.disabled_at.timestamp()) if row.disabled_at else None, "disabled_reason": row.disabled_reason,
        },
    }  # fmt: skip


def _delivery(row: Row[Any]) -> dict[str, Any]:
    state = "delivered" if row.delivered_at else "dead" if row.dead_at else "pending" if row.next_at else "tested"
    return {
        "id": message_id(row.public_id), "object": "webhook_delivery", "endpoint_id": ids.public("we", row.endpoint),
        "event_type": row.type, "state": state, "attempts": row.attempts, "code": row.last_code, "detail": row.last_detail,
        "created_at": int(row.created_at.timestamp()), "next_at": int(row.next_at.timestamp()) if row.next_at else None,
    }  # fmt: skip
