"""`/v1/jobs`: one request at a time, answered later, with everything that became of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitter, Submitting
from orchestrator.api.bodies import answer, checked, idempotency_key, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, Refused
from orchestrator.flow import cancel as cancelling
from orchestrator.flow import quotas, submit
from orchestrator.flow.context import Context
from orchestrator.flow.show import FIRST_LOOK_S, MOST_LOOK_S, MOST_WAIT_S, is_settled, show_job
from orchestrator.hints import window_seconds
from orchestrator.rightsizing.evidence.labelling import give_feedback

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MOST_WAITERS: Final = 400
"""Of one API process: each looks at its job once a second."""
MOST_OF_TENANT: Final = 200
"""So that one tenant leaves room for others."""
FULL_RETRY_S: Final = 5.0


@router.post("", status_code=202, openapi_extra=schemas.body_of(schemas.CreateJob))
async def create(request: Request, owner: Submitter) -> Response:
    """Accept one request to be answered within its deadline; the same Idempotency-Key gives the same job."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateJob, await read_object(request))
    name, headers = await serving.submit(_create, serving.context, owner, wanted, idempotency_key(request))
    return answer(await serving.read(show_job, serving.context, owner, name), status=202, headers=headers)


def _create(context: Context, owner: Owner, wanted: schemas.CreateJob, key: str | None) -> tuple[str, dict[str, str]]:
    """Accept a job; returns its id, and the headers of its caller's quotas."""
    within_s, headers = window_seconds(wanted.deadline, "deadline"), dict[str, str]()
    try:
        headers = quotas.take(context, owner, quotas.tokens_of(wanted.body))
        public_id = submit.submit_job(
            context, owner, wanted.endpoint, wanted.body, interactive=False, within_s=within_s, idempotency_key=key
        ).public_id
    except Refused:
        known = submit.known_job(context, owner, wanted.endpoint, wanted.body, key)
        if known is None:
            raise
        public_id = known
    return ids.public("job", public_id), headers


@router.get("/{job_id}")
async def show(
    job_id: str, request: Request, owner: Reader, wait_s: Annotated[float, Query(ge=0, le=MOST_WAIT_S)] = 0.0
) -> Response:
    """A job's state, its route with the reasons, its attempts and charges, and its result or why there is none.

    With `wait_s` it is waited for until it has ended, or so long. Where too many wait already the answer is a 429 that says when to try
    again; without `wait_s`, and for a job that has ended, it is told at all times. A job that came as a Celery message is `celery:` and
    its task's id.
    """
    serving = serving_of(request)
    if wait_s > 0 and not await serving.watch(is_settled, serving.context, owner, job_id):
        with _place(serving, owner.tenant_id):
            await _wait(request, serving, owner, job_id, wait_s)
    return answer(await serving.read(show_job, serving.context, owner, job_id))


def _place(serving: Serving, tenant_id: int) -> AbstractContextManager[None]:
    """One of the places for those who wait; raises Backpressure where none is left."""
    full = Backpressure(
        "Too many jobs are waited for just now. Ask without wait_s, or try again.", retry_after_s=FULL_RETRY_S
    )
    return serving.waiters.one(tenant_id, most=MOST_WAITERS, most_of_tenant=MOST_OF_TENANT, full=full)


async def _wait(request: Request, serving: Serving, owner: Owner, job_id: str, wait_s: float) -> None:
    """Wait until there is nothing more to be waited for, the time is up, or the caller has left."""
    until, pause_s = time.monotonic() + wait_s, FIRST_LOOK_S
    while (left_s := until - time.monotonic()) > 0 and not await request.is_disconnected():
        await asyncio.sleep(min(left_s, pause_s))
        if await serving.watch(is_settled, serving.context, owner, job_id):
            return
        pause_s = min(MOST_LOOK_S, 1.5 * pause_s)


@router.post("/{job_id}/feedback", openapi_extra=schemas.body_of(schemas.Feedback))
async def feedback(job_id: str, request: Request, who: Submitting) -> Response:
    """Say whether a job's answer was good, or what the right one is: right-sizing measures the quality of its task by it."""
    serving = serving_of(request)
    said = checked(schemas.Feedback, await read_object(request))
    public_id = ids.parse("job", job_id)
    given = partial(give_feedback, good=said.good, label=said.label, given_by=f"key_{who.key}")
    await serving.submit(given, serving.context, who.owner.tenant_id, public_id)
    return answer({"object": "feedback", "job": job_id, "good": said.good, "label": said.label})


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, request: Request, owner: Submitter) -> Response:
    """Cancel a job that has not ended."""
    serving, public_id = serving_of(request), ids.parse("job", job_id)
    await serving.submit(cancelling.cancel_job, serving.context, owner, public_id)
    return answer(await serving.read(show_job, serving.context, owner, job_id))
