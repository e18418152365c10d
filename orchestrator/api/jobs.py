"""`/v1/jobs`: one request at a time, answered later, with everything that became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer, checked, idempotency_key, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import JobState, Owner
from orchestrator.errors import NotFound
from orchestrator.flow import cancel as cancelling
from orchestrator.flow import submit
from orchestrator.hints import window_seconds
from orchestrator.pricing import ZERO
from orchestrator.store import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MOST_WAIT_S: Final = 60.0
FIRST_LOOK_S: Final = 0.05
MOST_LOOK_S: Final = 1.0


@router.post("", status_code=202, openapi_extra=schemas.body_of(schemas.CreateJob))
async def create(request: Request, owner: Submitter) -> Response:
    """Accept one request to be answered within its deadline; the same Idempotency-Key gives the same job."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateJob, await read_object(request))
    within_s = window_seconds(wanted.deadline, "deadline")
    made = await serving.submit(
        submit.submit_job, serving.context, owner, wanted.endpoint, wanted.body, interactive=False, within_s=within_s,
        idempotency_key=idempotency_key(request),
    )  # fmt: skip
    return answer(await serving.read(_show, serving, owner, made.public_id), status=202)


@router.get("/{job_id}")
async def show(
    job_id: str, request: Request, owner: Reader, wait_s: Annotated[float, Query(ge=0, le=MOST_WAIT_S)] = 0.0
) -> Response:
    """A job's state, its route with the reasons, its attempts and charges, and its result or why there is none.

    With `wait_s` it is waited for until it has ended, or so long.
    """
    serving, public_id = serving_of(request), ids.parse("job", job_id)
    until, pause_s = time.monotonic() + wait_s, FIRST_LOOK_S
    while True:
        found = await serving.read(_show, serving, owner, public_id)
        left = until - time.monotonic()
        if found["ended_at"] is not None or left <= 0 or await request.is_disconnected():
            return answer(found)
        await asyncio.sleep(min(left, pause_s))
        pause_s = min(MOST_LOOK_S, 1.5 * pause_s)


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, request: Request, owner: Submitter) -> Response:
    """Cancel a job that has not ended."""
    serving, public_id = serving_of(request), ids.parse("job", job_id)
    await serving.submit(cancelling.cancel_job, serving.context, owner, public_id)
    return answer(await serving.read(_show, serving, owner, public_id))


def _show(serving: Serving, owner: Owner, public_id: UUID) -> dict[str, Any]:
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = jobs.find(session, owner.tenant_id, public_id)
        if row is None:
            raise NotFound(f"There is no job {ids.public('job', public_id)}.")
        transfers = jobs.transfers(session, row.id)
        amounts = {(transfer.attempt, transfer.kind): transfer.amount_usd for transfer in transfers}
        attempts = [_attempt(attempt, amounts) for attempt in jobs.attempts(session, row.id)]
        result = jobs.result(session, row.id, row.stored_on) if row.state == JobState.SUCCEEDED else None
    body = None
    if result is not None:
        body = serving.context.blobs.get(result.blob_key) if result.blob_key else result.body
    return _object(row, attempts, transfers, body)


def _object(row: Row[Any], attempts: list[dict[str, Any]], transfers: Any, body: bytes | None) -> dict[str, Any]:
    charged = sum((t.amount_usd for t in transfers if t.kind == "charge"), start=ZERO)
    return {
        "id": ids.public("job", row.public_id),
        "object": "job",
        "state": JobState(row.state).label,
        "endpoint": row.endpoint,
        "batch_id": ids.public("batch", row.batch) if row.batch else None,
        "custom_id": row.custom_id,
        "task": row.task,
        "created_at": int(row.created_at.timestamp()),
        "ended_at": int(row.ended_at.timestamp()) if row.ended_at else None,
        "expires_at": int(row.deadline.timestamp()),
        "route": {
            "tier": row.tier,
            "model": row.model,
            "rule": row.rule,
            "reasons": row.reasons.split("\n"),
            "features": orjson.Fragment(row.features),
        },
        "attempts": attempts,
        "charges": [_transfer(t) for t in transfers if t.kind == "charge"],
        "costs": [_transfer(t) for t in transfers if t.kind == "cost"],
        "cost_usd": f"{charged:f}",
        # Stored bodies are whole JSON already: they go out as they are.
        "result": orjson.Fragment(body) if body else None,
        "error": {"code": row.fault_code, "message": row.fault_message} if row.fault_code else None,
    }


def _attempt(row: Row[Any], amounts: Mapping[tuple[int, str], Decimal]) -> dict[str, Any]:
    """An attempt with both of its costs: marginal, by the rate card, and its share of the machine's time, once that is known."""
    allocated = amounts.get((row.attempt, "machine"), ZERO) if row.books_closed_at else None
    return {
        "attempt": row.attempt,
        "outcome": row.outcome,
        "tier": row.tier,
        "model": row.model,
        "model_revision": row.model_revision,
        "simulated": row.simulated,
        "engine_s": round(row.engine_s, 6),
        "created_at": int(row.created_at.timestamp()),
        "marginal_usd": f"{amounts.get((row.attempt, 'cost'), ZERO):f}",
        "allocated_usd": None if allocated is None else f"{allocated:f}",
        "usage": {
            "input_tokens": row.input_tokens, "cached_tokens": row.cached_tokens, "output_tokens": row.output_tokens,
            "reasoning_tokens": row.reasoning_tokens, "images": row.images, "audio_seconds": str(row.audio_seconds),
        },
        "error": {"code": row.fault_code, "message": row.fault_message} if row.fault_code else None,
    }  # fmt: skip


def _transfer(row: Row[Any]) -> dict[str, Any]:
    payer = "caller" if row.kind == "charge" or row.debit_account == "cost:caller" else "house"
    return {
        "attempt": row.attempt, "tier": row.tier, "model": row.model, "amount_usd": f"{row.amount_usd:f}", "borne_by": payer,
        "price_version": row.price_version,
    }  # fmt: skip
