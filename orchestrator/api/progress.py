"""`GET /v1/batches/{id}/events`: a batch's progress as server-sent events, which go on where a lost connection left off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator import ids
from orchestrator.api import batch_view
from orchestrator.api.auth import Reader
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import NotFound, ServiceUnavailable
from orchestrator.store import batches

router = APIRouter(prefix="/v1/batches", tags=["batches"])

LOOK_S: Final = 0.5
QUIET_S: Final = 15.0
"""A comment is sent after so long without an event."""
MOST_FOLLOWERS: Final = 200
"""Of one API process: each looks at its batch twice a second."""
MOST_OF_TENANT: Final = 100
"""So that one tenant leaves room for others."""
ENDED: Final = frozenset({"failed", "completed", "expired", "cancelled"})


@router.get("/{batch_id}/events")
async def events(
    batch_id: str,
    request: Request,
    owner: Reader,
    last_event_id: Annotated[str | None, Header(max_length=128)] = None,
) -> Response:
    """Counts by tier, cost so far and time left, whenever they change, and `ended` at the end.

    An event says where the batch stands, and its id is that: whoever comes back with `Last-Event-ID` hears of what is new.
    """
    serving = serving_of(request)
    with ExitStack() as place:
        place.enter_context(_place(serving, owner.tenant_id))
        first = await serving.watch(_look, serving, owner, batch_id)
        told = _told(serving, owner, batch_id, first, last_event_id)
        return _Followed(place.pop_all(), told)


class _Followed(StreamingResponse):
    """A stream of events, whose place is free again however it ends."""

    def __init__(self, place: ExitStack, told: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(told, headers=headers, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def _place(serving: Serving, tenant_id: int) -> AbstractContextManager[None]:
    """One of the places for followers; raises ServiceUnavailable where none is left."""
    full = ServiceUnavailable(
        "Too many batches are followed just now. Ask for the batch itself, or try again.", retry_after_s=10.0
    )
    return serving.followers.one(tenant_id, most=MOST_FOLLOWERS, most_of_tenant=MOST_OF_TENANT, full=full)


async def _told(
    serving: Serving, owner: Owner, batch_id: str, found: dict[str, Any], last: str | None
) -> AsyncIterator[bytes]:
    pace, quiet_since = Pace(), time.monotonic()
    while True:
        event, name = _event(found, pace), _name(found)
        if name != last:
            yield _framed("ended" if found["status"] in ENDED else "progress", name, event)
            last, quiet_since = name, time.monotonic()
        if found["status"] in ENDED:
            return
        if time.monotonic() - quiet_since > QUIET_S:
            quiet_since = time.monotonic()
            yield b": nothing new\n\n"
        await asyncio.sleep(LOOK_S)
        found = await serving.watch(_look, serving, owner, batch_id)


class Pace:
    """How quickly rows get done, from when the batch was first looked at."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    def left_s(self, done: int, total: int) -> float | None:
        """About how long it still takes; None where that cannot be said yet."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        began, before = self._began
        if done <= before or total <= done:
            return 0.0 if total and total <= done else None
        return round((now - began) * (total - done) / (done - before), 1)


def _look(serving: Serving, owner: Owner, batch_id: str) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = batches.find(session, owner.tenant_id, ids.parse("batch", batch_id))
        if row is None:
            raise NotFound(f"There is no batch {batch_id[:80]!r}.")
        return batch_view.read(serving, session, row)


def _event(batch: dict[str, Any], pace: Pace) -> dict[str, Any]:
    counts, ours = batch["request_counts"], batch["rightsize"]
    return {
        "batch_id": batch["id"], "status": batch["status"], "request_counts": counts, "tiers": ours["tiers"],
        "cost_usd": ours["cost_usd"], "left_s": pace.left_s(counts["completed"] + counts["failed"], counts["total"]),
        "paused": ours["paused"],
    }  # fmt: skip


def _name(batch: dict[str, Any]) -> str:
    """The id of an event: where the batch stands, so that the same standing has the same id."""
    counts, paused = batch["request_counts"], batch["rightsize"]["paused"]
    return f"{batch['status']}.{counts['completed']}.{counts['failed']}.{(paused or {}).get('reason', '')}"


def _framed(kind: str, name: str, event: dict[str, Any]) -> bytes:
    return f"event: {kind}\nid: {name}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"
