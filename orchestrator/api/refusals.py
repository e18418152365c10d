"""`/v1/refusals`: work that came as a Celery message and was refused, with the reason. The list of dead letters."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from orchestrator.api.auth import Reading
from orchestrator.api.bodies import answer
from orchestrator.api.serving import Serving, serving_of
from orchestrator.errors import Forbidden, NotFound
from orchestrator.store import refusals
from orchestrator.store.keys import Identity

router = APIRouter(prefix="/v1/refusals", tags=["refusals"])

MOST_LISTED: Final = 1_000
MOST_ID: Final = 2**62
Unknown = Annotated[
    bool, Query(description="Those that no key told whose they are; for admin keys of whoever runs the service.")
]


@router.get("")
async def list_refusals(
    request: Request,
    who: Reading,
    unknown: Unknown = False,
    before: Annotated[int, Query(ge=1, le=MOST_ID)] = MOST_ID,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> Response:
    """The tenant's refusals, the newest first; `before` is the id of the last one of the page before."""
    serving = serving_of(request)
    return answer(await serving.read(_list, serving, _whose(who, unknown=unknown), before, limit))


@router.get("/{refusal_id}")
async def show_refusal(
    request: Request, who: Reading, refusal_id: Annotated[int, Path(ge=1, le=MOST_ID)], unknown: Unknown = False
) -> Response:
    """A refusal with its request, without the key; of a large one the beginning, as text."""
    serving = serving_of(request)
    return answer(await serving.read(_show, serving, _whose(who, unknown=unknown), refusal_id))


def _whose(who: Identity, *, unknown: bool) -> int | None:
    """The tenant whose refusals are asked for, None for those without; raises Forbidden."""
    if not unknown:
        return who.owner.tenant_id
    if not who.is_house or "admin" not in who.scopes:
        raise Forbidden(
            "Refusals without a known key are shown to whoever runs this service: use a key of its own tenant with the scopes "
            "read and admin."
        )
    return None


# No tenant holds for a row without one, so that both are read without the bounds of a tenant: the statements name it.


def _list(serving: Serving, tenant_id: int | None, before: int, limit: int) -> dict[str, Any]:
    with serving.context.house.unit_of_work() as session:
        rows = refusals.listed(session, tenant_id, before=before, limit=limit + 1)
    return {"object": "list", "data": [_refusal(row) for row in rows[:limit]], "has_more": len(rows) > limit}


def _show(serving: Serving, tenant_id: int | None, refusal_id: int) -> dict[str, Any]:
    with serving.context.house.unit_of_work() as session:
        row = refusals.find(session, tenant_id, refusal_id)
    if row is None:
        raise NotFound(
            f"There is no refusal {refusal_id}. They are kept for a while only: GET /v1/refusals lists them."
        )
    return {**_refusal(row), "request": _request(row.request)}


def _refusal(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id, "object": "refusal", "task_id": row.task_id or None, "code": row.code, "message": row.message,
        "created_at": int(row.created_at.timestamp()), "request_bytes": row.request_bytes,
    }  # fmt: skip


def _request(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
