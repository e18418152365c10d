"""`/v1/batches`: create, read, list and cancel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from sqlalchemy.orm import Session
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import batch_view, schemas
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer, checked, idempotency_key, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, NotFound
from orchestrator.flow import cancel as cancelling
from orchestrator.flow import pause as pausing
from orchestrator.flow import quotas, submit, tasks
from orchestrator.flow.again import Again, retry_batch
from orchestrator.flow.context import Context
from orchestrator.flow.estimate import WINDOW, Asked, as_object, estimate_batch
from orchestrator.hints import usd_from
from orchestrator.store import batches

router = APIRouter(prefix="/v1/batches", tags=["batches"])

RESENT_WITHIN: Final = timedelta(minutes=10)
"""A create that the official client sends again after a lost answer is recognised for so long."""
MOST_ESTIMATES: Final = 16
"""Of one API process; two are made at a time, and the others wait for them."""
MOST_OF_TENANT: Final = 4
MOST_COPIERS: Final = 10
"""Of one API process: fewer than the threads that submit, which all others need."""
MOST_COPIERS_OF_TENANT: Final = 8
FULL_RETRY_S: Final = 5.0


@router.post("", openapi_extra=schemas.body_of(schemas.CreateBatch))
async def create(request: Request, owner: Submitter) -> Response:
    """Make a batch of an uploaded file; its rows are checked while it is `validating`."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateBatch, await read_object(request))
    key = idempotency_key(request)
    # The official client sends no idempotency key, but says when it sends a request again.
    again = key is None and request.headers.get("x-stainless-retry-count", "0") != "0"
    return answer(await serving.submit(_create, serving, owner, wanted, key, again=again))


@router.post("/estimate", openapi_extra=schemas.body_of(schemas.EstimateBatch))
async def estimate(request: Request, owner: Reader) -> Response:
    """What a batch of an uploaded file would cost, use and take, with an interval that holds 80%, and on every other tier."""
    serving = serving_of(request)
    wanted = checked(schemas.EstimateBatch, await read_object(request))
    full = Backpressure("Too many estimates are made just now. Try again.", retry_after_s=FULL_RETRY_S)
    with serving.estimators.one(owner.tenant_id, most=MOST_ESTIMATES, most_of_tenant=MOST_OF_TENANT, full=full):
        async with serving.estimating:
            return answer(await serving.read(_estimate, serving, owner, wanted))


@router.get("")
async def listed(
    request: Request,
    owner: Reader,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The project's batches, the newest first; `after` names the last one of the page before."""
    serving = serving_of(request)
    return answer(await serving.read(_list, serving, owner, after, limit))


@router.get("/{batch_id}")
async def show(batch_id: str, request: Request, owner: Reader) -> Response:
    """One batch."""
    serving = serving_of(request)
    return answer(await serving.read(_show, serving, owner, batch_id))


@router.post("/{batch_id}/cancel")
async def cancel(batch_id: str, request: Request, owner: Submitter) -> Response:
    """Cancel a batch at once; what runs just now may still end, and is in the output."""
    serving = serving_of(request)
    await serving.submit(cancelling.cancel_batch, serving.context, owner, ids.parse("batch", batch_id))
    return answer(await serving.read(_show, serving, owner, batch_id))


@router.post("/{batch_id}/pause")
async def pause(batch_id: str, request: Request, owner: Submitter) -> Response:
    """Begin nothing more of a batch; what runs just now ends, and its completion window goes on."""
    serving = serving_of(request)
    await serving.submit(pausing.pause_batch, serving.context, owner, ids.parse("batch", batch_id))
    return answer(await serving.read(_show, serving, owner, batch_id))


@router.post("/{batch_id}/resume", openapi_extra=schemas.body_of(schemas.ResumeBatch, required=False))
async def resume(batch_id: str, request: Request, owner: Submitter) -> Response:
    """Go on with a batch that was paused, or that came to its cap: `max_cost_usd` raises that."""
    serving = serving_of(request)
    wanted = checked(schemas.ResumeBatch, await read_object(request, empty=True))
    most = usd_from(wanted.max_cost_usd, "max_cost_usd")
    await serving.submit(pausing.resume_batch, serving.context, owner, ids.parse("batch", batch_id), most)
    return answer(await serving.read(_show, serving, owner, batch_id))


@router.post("/{batch_id}/retry", openapi_extra=schemas.body_of(schemas.RetryBatch, required=False))
async def retry(batch_id: str, request: Request, owner: Submitter) -> Response:
    """Run the failed rows of a batch again, one tier up, as a batch of their own; `merged_output_file_id` holds both outputs."""
    serving = serving_of(request)
    wanted = checked(schemas.RetryBatch, await read_object(request, empty=True))
    key = idempotency_key(request)
    again = key is None and request.headers.get("x-stainless-retry-count", "0") != "0"
    full = Backpressure("Failed rows of too many batches are copied just now. Try again.", retry_after_s=FULL_RETRY_S)
    with serving.copiers.one(owner.tenant_id, most=MOST_COPIERS, most_of_tenant=MOST_COPIERS_OF_TENANT, full=full):
        return answer(await serving.submit(_retry, serving, owner, batch_id, wanted, key, again=again))


def _estimate(serving: Serving, owner: Owner, wanted: schemas.EstimateBatch) -> dict[str, Any]:
    context, given = serving.context, wanted.rightsize or {}
    hints = submit.shared_hints(given, wanted.endpoint, context.config.fleet)
    file = ids.parse("file", wanted.input_file_id)
    with context.database.unit_of_work(owner.tenant_id) as session:
        version = tasks.unstored(session, owner, hints.task, given.get("task_version"), given.get("parameters") or {})
    window = wanted.completion_window or WINDOW
    return as_object(estimate_batch(context, owner, file, Asked(wanted.endpoint, hints, window, version)))


def _retry(
    serving: Serving, owner: Owner, batch_id: str, wanted: schemas.RetryBatch, key: str | None, *, again: bool
) -> dict[str, Any]:
    context = serving.context
    quotas.take(context, owner, 0)
    row = _tried_before(context, owner, batch_id, wanted) if again else None
    if row is None:
        rows = Again(wanted.tier, wanted.only, wanted.completion_window)
        row = retry_batch(context, owner, ids.parse("batch", batch_id), rows, key)
    with context.database.unit_of_work(owner.tenant_id) as session:
        return batch_view.read(serving, session, row)


def _tried_before(context: Context, owner: Owner, batch_id: str, wanted: schemas.RetryBatch) -> Row[Any] | None:
    """The batch that the first sending of this request made, if it did: of the same rows, by the same key, with the same window."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        first = _find(session, owner, batch_id)
        recent = batches.recent(session, owner.project_id, limit=100)
    since = datetime.now(UTC) - RESENT_WITHIN
    asked = (first.id, owner.api_key_id, wanted.completion_window)
    return next(
        (
            row
            for row in recent
            if (row.retry_of, row.api_key_id, row.completion_window) == asked and row.created_at > since
        ),
        None,
    )


def _create(
    serving: Serving, owner: Owner, wanted: schemas.CreateBatch, key: str | None, *, again: bool
) -> dict[str, Any]:
    context = serving.context
    quotas.take(context, owner, 0)
    row = _sent_before(serving, owner, wanted) if again else None
    if row is None:
        row = submit.create_batch(
            context, owner, input_file=ids.parse("file", wanted.input_file_id), endpoint=wanted.endpoint,
            window=wanted.completion_window, metadata=wanted.metadata, hints=wanted.rightsize, idempotency_key=key,
            output_expires_s=wanted.output_expires_after.seconds if wanted.output_expires_after else None,
        )  # fmt: skip
    with context.database.unit_of_work(owner.tenant_id) as session:
        return batch_view.read(serving, session, row)


def _sent_before(serving: Serving, owner: Owner, wanted: schemas.CreateBatch) -> Row[Any] | None:
    """The batch that the first sending of this request made, if it did: same key, file, endpoint, metadata and hints."""
    file = ids.parse("file", wanted.input_file_id)
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        recent = batches.recent(session, owner.project_id, limit=100)
    since = datetime.now(UTC) - RESENT_WITHIN
    for row in recent:
        same = (row.api_key_id, row.input_file, row.endpoint, row.completion_window) == (
            owner.api_key_id, file, wanted.endpoint, wanted.completion_window,
        )  # fmt: skip
        if (
            same
            and row.metadata == wanted.metadata
            and row.retry_of is None
            and row.hints == (wanted.rightsize or {})
            and row.created_at > since
        ):
            return row
    return None


def _list(serving: Serving, owner: Owner, after: str | None, limit: int) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        before = 2**62 if after is None else _find(session, owner, after).id
        rows = batches.recent(session, owner.project_id, before=before, limit=limit + 1)
        data = [batch_view.read(serving, session, row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rows) > limit,
    }


def _show(serving: Serving, owner: Owner, batch_id: str) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        return batch_view.read(serving, session, _find(session, owner, batch_id))


def _find(session: Session, owner: Owner, batch_id: str) -> Row[Any]:
    row = batches.find(session, owner.tenant_id, ids.parse("batch", batch_id))
    if row is None:
        raise NotFound(f"There is no batch {batch_id[:80]!r}.")
    return row
