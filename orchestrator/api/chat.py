"""`POST /v1/chat/completions`, `/completions`, `/embeddings`, `/classify`, `/score`: one request, answered while the caller waits."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.answers import Reply, stored_reply
from orchestrator.api.auth import Caller
from orchestrator.api.bodies import idempotency_key, read_object
from orchestrator.api.failures import CLIENT_GONE, failure
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Conflict, NotFound
from orchestrator.flow import cancel, submit
from orchestrator.flow.submit import Submitted
from orchestrator.requests import CHAT, CLASSIFY, EMBEDDINGS, SCORE

router = APIRouter(tags=["interactive"])

PIECE_S: Final = 2.0
"""After so long without an answer the row is looked at: a message may have been lost."""
GRACE_S: Final = 1.0
"""Beyond the job's deadline, for the worker to say that it has passed."""
SAME: Final = frozenset({400, 409, 413, 422, 503, 504})
"""Statuses of a failed job that its caller sees as they are."""


@router.post(CHAT, openapi_extra=schemas.body_of(schemas.ChatRequest))
async def chat(request: Request, owner: Caller) -> Response:
    """Answer a chat; `model` is auto, a tier or a model, and `rightsize` holds hints."""
    return await _answered(request, owner, CHAT)


@router.post("/v1/completions", openapi_extra=schemas.body_of(schemas.CompletionRequest))
async def completions(request: Request, owner: Caller) -> Response:
    """Complete a prompt."""
    return await _answered(request, owner, "/v1/completions")


@router.post(EMBEDDINGS, openapi_extra=schemas.body_of(schemas.EmbeddingRequest))
async def embeddings(request: Request, owner: Caller) -> Response:
    """Embed text."""
    return await _answered(request, owner, EMBEDDINGS)


@router.post(CLASSIFY, openapi_extra=schemas.body_of(schemas.ClassifyRequest))
async def classify(request: Request, owner: Caller) -> Response:
    """Give each text the probability of each label of the model."""
    return await _answered(request, owner, CLASSIFY)


@router.post(SCORE, openapi_extra=schemas.body_of(schemas.ScoreRequest))
async def score(request: Request, owner: Caller) -> Response:
    """Say how well each document answers its query."""
    return await _answered(request, owner, SCORE)


async def _answered(request: Request, owner: Owner, endpoint: str) -> Response:
    """Accept the request durably, then wait for its answer, its deadline, or the caller's hang-up."""
    serving = serving_of(request)
    within_s = serving.context.settings.request_timeout_s
    body = await read_object(request)
    key = idempotency_key(request)
    made = await serving.submit(
        submit.submit_job, serving.context, owner, endpoint, body, interactive=True, within_s=within_s, idempotency_key=key
    )  # fmt: skip
    job = made.public_id
    waiting = asyncio.ensure_future(_wait(serving, owner, job, within_s + GRACE_S))
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        reply = waiting.result() if waiting.done() else None
        if reply is None:
            if key is None or waiting.done():  # who gave a key comes back for the answer
                reply = await serving.submit(_call_off, serving, owner, job)
            if not waiting.done():
                return Response(status_code=CLIENT_GONE)
    finally:
        waiting.cancel()
        gone.cancel()
    return _late(job, within_s) if reply is None else _response(made, reply)


async def _wait(serving: Serving, owner: Owner, job: UUID, within_s: float) -> Reply | None:
    """The reply from the stream, or from the row where the stream stays silent; None when the time is up."""
    context = serving.context
    give_up = time.monotonic() + within_s
    while (left := give_up - time.monotonic()) > 0:
        reply = await serving.answers.wait(job, min(left, PIECE_S))
        if reply is None:
            reply = await serving.read(stored_reply, context.database, context.blobs, owner.tenant_id, job)
        if reply is not None:
            return reply
    return None


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _call_off(serving: Serving, owner: Owner, job: UUID) -> Reply | None:
    """Cancel a job that nobody waits for any more; what ended in that moment is paid for, so it is answered."""
    context = serving.context
    reply = stored_reply(context.database, context.blobs, owner.tenant_id, job)
    if reply is None:
        try:
            cancel.cancel_job(context, owner, job)
        except (Conflict, NotFound):
            return None
    return reply


def _late(job: UUID, within_s: float) -> Response:
    name = ids.public("job", job)
    return failure(
        504,
        f"No answer came within {within_s:g} s, and the request was cancelled; {name} says what became of it (GET /v1/jobs/{name}). "
        "For work that takes longer use POST /v1/jobs or a batch.",
        code="timeout",
        headers=_headers(name),
    )


def _response(made: Submitted, reply: Reply) -> Response:
    """The model's own body with our `rightsize` object in it, or OpenAI's error form with the last fault."""
    name, job = ids.public("job", made.public_id), made.job
    if reply.body is None:
        status = reply.status if reply.status in SAME else 503 if reply.status == 429 else 502
        told = reply.message or "The request failed."
        return failure(status, f"{told} ({name})", code=reply.code or "failed", headers=_headers(name))
    note = {
        "tier": job.tier, "model": job.model, "rule": job.rule, "reasons": job.reasons.split("\n"),
        "attempts": reply.attempts, "cost_usd": reply.cost_usd, "simulated": reply.simulated,
    }  # fmt: skip
    content = reply.body[:-1] + b',"rightsize":' + orjson.dumps(note) + b"}"
    headers = {"x-rightsize-job": name, "Cache-Control": "no-store"}
    return Response(content, headers=headers, media_type="application/json")


def _headers(name: str) -> dict[str, str]:
    # The official clients would send a failed request again, up to twice: its retries are spent already.
    return {"x-rightsize-job": name, "x-should-retry": "false"}
