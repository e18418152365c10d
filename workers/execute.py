"""Execute: one claimed job to one outcome. What a model can do wrong is an outcome here, not an exception."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from orchestrator.contracts import Answer, ClaimedJob, Fault, Outcome, OutcomeKind, Usage
from orchestrator.crashpoints import reached
from orchestrator.errors import EngineFault
from orchestrator.telemetry import log_fault
from workers.engines.base import Engine, EngineRequest

MAX_TOKENS = 100_000_000
MAX_MESSAGE = 2_000


async def run(job: ClaimedJob, engine: Engine) -> Outcome:
    """Run one job: prepare its body, let the engine perform it within the deadline, normalise the answer."""
    started = time.monotonic()
    try:
        request = prepare(job)
        async with asyncio.timeout(job.seconds_left):
            reached("execute.before_perform")
            answer = await engine.perform(request)
            reached("execute.after_perform")
        return normalise(job, answer, time.monotonic() - started)
    except EngineFault as fault:
        return from_fault(fault, time.monotonic() - started)
    except TimeoutError:
        late = Fault("deadline_exceeded", "The model did not answer before the job's deadline.", 504)
        return Outcome(OutcomeKind.EXPIRED, fault=late, engine_s=time.monotonic() - started)
    except Exception as error:
        log_fault("unexpected_outcome", error, model=job.model, job=job.public_id)
        ours = Fault("engine_error", "The engine met a fault of its own. The worker's log tells more.", 500)
        return Outcome(OutcomeKind.RETRY, fault=ours, engine_s=time.monotonic() - started)


def prepare(job: ClaimedJob) -> EngineRequest:
    """The engine's request from a stored body; raises EngineFault for a body that is gone."""
    if not job.body:
        raise EngineFault(
            "The request's body is gone from the blob store.", code="body_missing", retryable=False, http_status=410
        )
    body: dict[str, Any] = orjson.loads(job.body)
    return EngineRequest(
        job_id=job.public_id, endpoint=job.endpoint, body=body, task=job.task, seconds_left=job.seconds_left
    )


def normalise(job: ClaimedJob, answer: Answer, engine_s: float) -> Outcome:
    """A recorded answer: usage within reason, the body as JSON with our model name; raises EngineFault for a bad one."""
    usage = answer.usage
    _check_usage(usage)
    body = answer.body
    body["model"] = job.model
    try:
        content = orjson.dumps(body)
    except (TypeError, ValueError) as error:
        raise EngineFault(
            "The model's answer holds something that is not valid JSON or Unicode.", code="bad_answer", retryable=True
        ) from error
    if b"\\u0000" in content:
        raise EngineFault("The model's answer holds a NUL character.", code="bad_answer", retryable=True)
    return Outcome(OutcomeKind.SUCCEEDED, usage, content, None, answer.model_revision, answer.simulated, engine_s)


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


def from_fault(fault: EngineFault, engine_s: float) -> Outcome:
    """The outcome of a fault: its class says whether another attempt may help."""
    kind = OutcomeKind.RETRY if fault.retryable else OutcomeKind.FAILED
    told = Fault(fault.fault_code, fault.message[:MAX_MESSAGE], fault.http_status, fault.retry_after_s)
    return Outcome(kind, fault=told, engine_s=engine_s)
