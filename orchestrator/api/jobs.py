"""`/v1/jobs`: one request at a time, answered later, with everything that became of it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer, checked, idempotency_key, read_object
from orchestrator.api.serving import serving_of
from orchestrator.contracts import Owner
from orchestrator.flow import cancel as cancelling
from orchestrator.flow import quotas, submit
from orchestrator.flow.context import Context
from orchestrator.flow.show import FIRST_LOOK_S, MOST_LOOK_S, MOST_WAIT_S, NotHere, show_job
from orchestrator.hints import window_seconds

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=202, openapi_extra=schemas.body_of(schemas.CreateJob))
async def create(request: Request, owner: Submitter) -> Response:
    """Accept one request to be answered within its deadline; the same Idempotency-Key gives the same job."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateJob, await read_object(request))
    name, headers = await serving.submit(_create, serving.context, owner, wanted, idempotency_key(request))
    return answer(await serving.read(show_job, serving.context, owner, name), status=202, headers=headers)


def _create(context: Context, owner: Owner, wanted: schemas.CreateJob, key: str | None) -> tuple[str, dict[str, str]]:
    """Accept a job; returns its id, and the headers of its caller's quotas."""
    within_s = window_seconds(wanted.deadline, "deadline")
    headers = quotas.take(context, owner, quotas.tokens_of(wanted.body))
    made = submit.submit_job(
        context, owner, wanted.endpoint, wanted.body, interactive=False, within_s=within_s, idempotency_key=key
    )
    return ids.public("job", made.public_id), headers


@router.get("/{job_id}")
async def show(
    job_id: str, request: Request, owner: Reader, wait_s: Annotated[float, Query(ge=0, le=MOST_WAIT_S)] = 0.0
) -> Response:
    """A job's state, its route with the reasons, its attempts and charges, and its result or why there is none.

    With `wait_s` it is waited for until it has ended, or so long. A job that came as a Celery message is `celery:` and its task's id.
    """
    serving = serving_of(request)
    until, pause_s = time.monotonic() + wait_s, FIRST_LOOK_S
    while True:
        left = until - time.monotonic()
        try:
            found = await serving.read(show_job, serving.context, owner, job_id)
            if found["ended_at"] is not None or left <= 0 or await request.is_disconnected():
                return answer(found)
        except NotHere as error:
            if error.refused or left <= 0 or await request.is_disconnected():
                raise
        await asyncio.sleep(min(left, pause_s))
        pause_s = min(MOST_LOOK_S, 1.5 * pause_s)


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, request: Request, owner: Submitter) -> Response:
    """Cancel a job that has not ended."""
    serving, public_id = serving_of(request), ids.parse("job", job_id)
    await serving.submit(cancelling.cancel_job, serving.context, owner, public_id)
    return answer(await serving.read(show_job, serving.context, owner, job_id))
