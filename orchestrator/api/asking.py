"""One request that its caller waits for: accepted durably, followed to its answer, called off when the caller hangs up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api.answers import Reply, stored_reply
from orchestrator.api.bodies import idempotency_key, read_object
from orchestrator.api.failures import CLIENT_GONE, failure
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Conflict, NotFound, ServiceUnavailable
from orchestrator.flow import cancel, quotas, submit
from orchestrator.flow.context import Context
from orchestrator.flow.submit import Prepared, Submitted

PIECE_S: Final = 2.0
"""After so long without an answer the row is looked at: a message may have been lost."""
LIGHT_BYTES: Final = 32_768
"""A body up to this is checked and routed by the thread that submits it; its stored form lies in the row, not in the blob store."""
GRACE_S: Final = 1.0
"""Beyond the job's deadline, for the worker to say that it has passed."""
SAME: Final = frozenset({400, 409, 413, 422, 503, 504})
"""Statuses of a failed job that its caller sees as they are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was accepted."""

    owner: Owner
    body: Mapping[str, Any]
    """As the caller sent it."""
    made: Submitted
    within_s: float
    keyed: bool
    """Whether its caller gave an idempotency key, and so may come back for the answer."""
    headers: Mapping[str, str]
    """Of the caller's quotas."""

    @property
    def name(self) -> str:
        """The job's public id."""
        return ids.public("job", self.made.public_id)


async def ask(request: Request, owner: Owner, endpoint: str) -> Asked:
    """Read a request and accept it durably; raises what is refused."""
    serving = serving_of(request)
    body = await read_object(request)
    key = idempotency_key(request)
    within_s = serving.context.settings.request_timeout_s
    job, in_pieces = ids.uuid7(), bool(body.get("stream"))
    prepare: Callable[[], Prepared] = partial(
        submit.prepare_job, serving.context, owner, endpoint, body, interactive=True, within_s=within_s, idempotency_key=key,
        public_id=job, reply_to="" if in_pieces else serving.answers.address,
    )  # fmt: skip
    headers: Mapping[str, str] = {}
    if _may_wait(serving.context, owner, await request.body()):
        headers = await serving.submit(_counted, serving.context, owner, body)
        prepared = await serving.submit(prepare)
        prepare = partial(_ready, prepared)
    if not in_pieces:  # before it is asked for: the answer may be back before this goes on
        serving.answers.expect(job)
    try:
        made = await serving.gather(owner, prepare)
    except BaseException:
        serving.answers.forget(job)
        raise
    if made.public_id != job:
        serving.answers.forget(job)
    return Asked(owner, body, made, min(within_s, made.job.within_s or within_s), key is not None, headers)


def _may_wait(context: Context, owner: Owner, raw: bytes) -> bool:
    """Whether a request may wait for Redis, the database or the blob store before it is stored: it must not hold up its neighbours."""
    light = min(LIGHT_BYTES, context.settings.inline_body_bytes // 2)
    return len(raw) > light or context.may_have_quotas(owner.tenant_id)


def _counted(context: Context, owner: Owner, body: Mapping[str, Any]) -> dict[str, str]:
    return quotas.take(context, owner, quotas.tokens_of(body))


def _ready(prepared: Prepared) -> Prepared:
    return prepared


async def answered(request: Request, owner: Owner, endpoint: str) -> Response:
    """Accept the request, then wait for its answer, its deadline, or the caller's hang-up."""
    return await awaited(request, await ask(request, owner, endpoint))


async def awaited(request: Request, asked: Asked) -> Response:
    """The answer to an accepted request, whole."""
    serving = serving_of(request)
    waiting = asyncio.ensure_future(_wait(serving, asked))
    gone = asyncio.ensure_future(hung_up(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        reply = waiting.result() if waiting.done() else None
        if reply is None:
            if not asked.keyed or waiting.done():  # who gave a key comes back for the answer
                reply = await serving.submit(call_off, serving, asked)
            if not waiting.done():
                return Response(status_code=CLIENT_GONE)
    finally:
        waiting.cancel()
        gone.cancel()
        serving.answers.forget(asked.made.public_id)
    return late(asked) if reply is None else response(asked, reply)


async def _wait(serving: Serving, asked: Asked) -> Reply | None:
    """The reply from the stream, or from the row where the stream stays silent; None when the time is up."""
    give_up = time.monotonic() + asked.within_s + GRACE_S
    while (left := give_up - time.monotonic()) > 0:
        reply = await serving.answers.wait(asked.made.public_id, min(left, PIECE_S))
        if reply is None:
            reply = await stored(serving, asked)
        if reply is not None:
            return reply
    return None


async def stored(serving: Serving, asked: Asked) -> Reply | None:
    """The reply from the row, once the job has ended and its servers answer: what was accepted goes on while one is away."""
    context = serving.context
    try:
        return await serving.read(
            stored_reply, context.database, context.blobs, asked.owner.tenant_id, asked.made.public_id
        )
    except ServiceUnavailable:
        return None


async def hung_up(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def call_off(serving: Serving, asked: Asked) -> Reply | None:
    """Cancel a job that nobody waits for any more; what ended in that moment is paid for, so it is answered."""
    context = serving.context
    job: UUID = asked.made.public_id
    try:
        reply = stored_reply(context.database, context.blobs, asked.owner.tenant_id, job)
        if reply is None:
            cancel.cancel_job(context, asked.owner, job)
    except (Conflict, NotFound, ServiceUnavailable):  # its deadline ends it where the database is away
        return None
    if reply is None:
        context.broker.cut(job.hex)
    return reply


def late(asked: Asked) -> Response:
    """What is said when the time is up."""
    name = asked.name
    return failure(
        504,
        f"No answer came within {asked.within_s:g} s, and the request was cancelled; {name} says what became of it "
        f"(GET /v1/jobs/{name}). For work that takes longer use POST /v1/jobs or a batch.",
        code="timeout",
        headers=_headers(asked),
    )


def failed(asked: Asked, reply: Reply) -> Response:
    """OpenAI's error form with the last fault; beside it what was done, and what it cost: answers that were not accepted are paid."""
    status = reply.status if reply.status in SAME else 503 if reply.status == 429 else 502
    told = reply.message or "The request failed."
    beside = {"rightsize": note_of(asked, reply)}
    return failure(
        status, f"{told} ({asked.name})", code=reply.code or "failed", headers=_headers(asked), beside=beside
    )


def response(asked: Asked, reply: Reply) -> Response:
    """The model's own body with our `rightsize` object in it, or why there is none."""
    if reply.body is None:
        return failed(asked, reply)
    content = reply.body[:-1] + b',"rightsize":' + orjson.dumps(note_of(asked, reply)) + b"}"
    headers = {"x-rightsize-job": asked.name, "Cache-Control": "no-store", **asked.headers}
    return Response(content, headers=headers, media_type="application/json")


def note_of(asked: Asked, reply: Reply) -> dict[str, Any]:
    """Our `rightsize` object of an answer."""
    job = asked.made.job
    return {
        "tier": reply.tier or job.tier, "model": reply.model or job.model, "rule": job.rule, "reasons": job.reasons.split("\n"),
        "attempts": reply.attempts, "cost_usd": reply.cost_usd, "simulated": reply.simulated,
    }  # fmt: skip


def _headers(asked: Asked) -> dict[str, str]:
    # The official clients would send a failed request again, up to twice: its retries are spent already.
    return {"x-rightsize-job": asked.name, "x-should-retry": "false", **asked.headers}
