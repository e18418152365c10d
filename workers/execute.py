"""Execute: one claimed job to one outcome. What a model can do wrong is an outcome here, not an exception."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import orjson

from orchestrator.contracts import ACCEPT, ASKED, HELD_TO, Answer, ClaimedJob, Fault, Outcome, OutcomeKind, Usage
from orchestrator.crashpoints import reached
from orchestrator.errors import EngineFault
from orchestrator.incoming import holds_nul
from orchestrator.media.picture import MAX_IMAGE_PIXELS
from orchestrator.responses.answer import from_chat
from orchestrator.tasks.verdict import Held
from orchestrator.telemetry import log_fault
from workers import accepting, deliberation, fields, media, telling
from workers.accepting import NotAccepted
from workers.deliberation import Wanted
from workers.engines.base import Engine, EngineRequest
from workers.forms import WrongForm
from workers.streaming import Pieces

MAX_TOKENS = 100_000_000
MAX_MESSAGE = 2_000
CANNOT = frozenset({"not_accepted", "no_specialist", "bad_specialist"})
"""Faults of a model that the next one of a cascade does not share."""


async def run(
    job: ClaimedJob, engine: Engine, max_image_pixels: int = MAX_IMAGE_PIXELS, pieces: Pieces | None = None
) -> Outcome:
    """Run one job: prepare its body, let the engine perform it within the deadline, normalise the answer.

    `pieces` takes an answer that its caller wants to see while it comes.
    """
    started = time.monotonic()
    try:
        request, wanted = prepare(job)
        async with asyncio.timeout(job.seconds_left):
            if media.has_media(request.body):
                request = await media.cleaned(request, engine.limits(), max_image_pixels)
            reached("execute.before_perform")
            # What may not be accepted is not told while it comes.
            if wanted.stream and pieces is not None and wanted.accept is None:
                answer = await telling.perform(engine, request, wanted, pieces)
            else:
                answer = await deliberation.perform(engine, request, wanted)
            reached("execute.after_perform")
        if wanted.accept is not None:
            accepting.check(job, answer, wanted.accept)
        if wanted.held is not None:
            fields.tell(request, answer, wanted.held)
        outcome = normalise(job, answer, wanted, time.monotonic() - started)
        if wanted.stream and pieces is not None:
            telling.tell_whole(answer, request.endpoint, wanted, pieces)
        return outcome
    except EngineFault as fault:
        return from_fault(fault, time.monotonic() - started, may_escalate=bool(job.cascade))
    except TimeoutError:
        late = Fault("deadline_exceeded", "The model did not answer before the job's deadline.", 504)
        return Outcome(OutcomeKind.EXPIRED, fault=late, engine_s=time.monotonic() - started)
    except Exception as error:
        return unforeseen(job, error, time.monotonic() - started)


def prepare(job: ClaimedJob) -> tuple[EngineRequest, Wanted]:
    """The engine's request from a stored body, and how it is to be run; raises EngineFault for a body that is gone."""
    if not job.body:
        raise EngineFault(
            "The request's body is gone from the blob store.", code="body_missing", retryable=False, http_status=410
        )
    body: dict[str, Any] = orjson.loads(job.body)
    hints = body.pop("rightsize", None) or {}
    stream = bool(body.pop("stream", None))
    body.pop("stream_options", None)
    asked_as = body.pop(ASKED, None)
    held = body.pop(HELD_TO, None)
    accept = body.pop(ACCEPT, None)
    request = EngineRequest(
        job_id=job.public_id,
        endpoint=job.engine_endpoint,
        body=body,
        task=job.task,
        seconds_left=job.seconds_left,
        interactive=job.interactive,
        thinking_tokens=hints.get("thinking_tokens"),
        adapter=hints.get("adapter"),
        specialist=(accept or {}).get("specialist"),
    )
    asked = Wanted(
        bool(hints.get("reasoning")),
        hints.get("samples", 1),
        hints.get("vote", "majority"),
        stream,
        asked_as,
        None if held is None else Held.from_json(held),
        accept,
    )
    return request, asked


def normalise(job: ClaimedJob, answer: Answer, wanted: Wanted, engine_s: float) -> Outcome:
    """A recorded answer: usage within reason, the body as JSON with our model name; raises EngineFault for a bad one."""
    usage = answer.usage
    _check_usage(usage)
    body = answer.body
    body["model"] = job.model
    _settle_messages(body, keep_reasoning=wanted.reasoning)
    if wanted.response is not None:
        body = from_chat(body, wanted.response, f"resp_{job.public_id}", int(time.time()))
    try:
        content = orjson.dumps(body)
    except (TypeError, ValueError) as error:
        raise EngineFault(
            "The model's answer holds something that is not valid JSON or Unicode.", code="bad_answer", retryable=True
        ) from error
    if holds_nul(content):
        raise EngineFault("The model's answer holds a NUL character.", code="bad_answer", retryable=True)
    return Outcome(OutcomeKind.SUCCEEDED, usage, content, None, answer.model_revision, answer.simulated, engine_s)


def _settle_messages(body: dict[str, Any], *, keep_reasoning: bool) -> None:
    """Reasoning only for those who ask for it, and no answer that is nothing: a model that only thought has not answered."""
    for choice in body.get("choices") or ():
        message = choice.get("message")
        if not isinstance(message, dict):
            continue
        thought = message.pop("reasoning_content", None) or message.pop("reasoning", None)
        if message.get("content") is None and not message.get("tool_calls") and not message.get("refusal"):
            told = (
                "spent its tokens on reasoning: raise max_tokens, or lower reasoning_effort"
                if thought
                else "said nothing"
            )
            raise EngineFault(f"The model gave no answer; it {told}.", code="no_answer", retryable=not thought)
        if keep_reasoning and thought:
            message["reasoning"] = thought


def _check_usage(usage: Usage) -> None:
    """Refuse what no model can have used: it would be charged."""
    counts = (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens, usage.images)
    if (
        min(counts) < 0
        or max(counts) > MAX_TOKENS
        or usage.cached_tokens > usage.input_tokens
        or usage.reasoning_tokens > usage.output_tokens
    ):
        raise EngineFault("The model reported a usage that cannot be.", code="bad_usage", retryable=True)


def unforeseen(job: ClaimedJob, error: Exception, engine_s: float = 0.0) -> Outcome:
    """The outcome of a fault of ours: it is told in the log, and another attempt may help."""
    log_fault("unexpected_outcome", error, model=job.model, job=job.public_id)
    ours = Fault("engine_error", "The engine met a fault of its own. The worker's log tells more.", 500)
    return Outcome(OutcomeKind.RETRY, fault=ours, engine_s=engine_s)


def broken_off(outcome: Outcome | None) -> Outcome:
    """The outcome of an attempt of which something was told already: another one would begin anew before a reader's eyes.

    None is one that an orderly stop interrupted.
    """
    if outcome is None:
        told = Fault(
            "stream_broken", "The answer broke off after it had begun: its worker was stopped. Ask again.", 503
        )
        return Outcome(OutcomeKind.FAILED, fault=told)
    if outcome.kind is not OutcomeKind.RETRY or outcome.fault is None:
        return outcome
    why = f"The answer broke off after it had begun ({outcome.fault.code}): {outcome.fault.message}"
    told = Fault("stream_broken", why[:MAX_MESSAGE], outcome.fault.http_status)
    return replace(outcome, kind=OutcomeKind.FAILED, fault=told)


def from_fault(fault: EngineFault, engine_s: float, *, may_escalate: bool = False) -> Outcome:
    """The outcome of a fault: its class says whether another attempt may help, or another model."""
    kind = OutcomeKind.RETRY if fault.retryable else OutcomeKind.FAILED
    is_rejected = fault.fault_code in CANNOT or (isinstance(fault, WrongForm) and not fault.was_cut)
    if may_escalate and is_rejected:
        kind = OutcomeKind.REJECTED
    detail, usage = (fault.detail, fault.usage) if isinstance(fault, (WrongForm, NotAccepted)) else (None, Usage())
    told = Fault(fault.fault_code, fault.message[:MAX_MESSAGE], fault.http_status, fault.retry_after_s, detail)
    return Outcome(kind, usage, fault=told, engine_s=engine_s)
