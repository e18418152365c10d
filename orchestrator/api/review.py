"""`/v1/tasks/NAME/reviews`, `/v1/reviews`: answers at which people look, and what they make of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitting
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import serving_of
from orchestrator.errors import InvalidRequest
from orchestrator.flow import reviewing
from orchestrator.flow.administer import Actor
from orchestrator.flow.reviewing import Decision

router = APIRouter(prefix="/v1", tags=["reviews"])

MOST_LISTED: Final = 100
State = Literal["open", "corrected", "confirmed", "dropped"]
After = Annotated[str | None, Query(max_length=128, description="The id of the last one of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


@router.get("/tasks/{task_name}/reviews")
async def listed(
    task_name: str, request: Request, owner: Reader, state: State = "open", after: After = None, limit: Limit = 20
) -> Response:
    """Answers to a task at which people should look, the oldest first."""
    serving = serving_of(request)
    found = await serving.read(
        reviewing.listed, serving.context, owner, task_name, state=state, after=after, limit=limit
    )
    return answer(found)


@router.get("/reviews/{review_id}")
async def show(review_id: str, request: Request, owner: Reader) -> Response:
    """A review with the answer as it stands now."""
    serving = serving_of(request)
    return answer(await serving.read(reviewing.show, serving.context, owner, review_id))


@router.post("/reviews/{review_id}", openapi_extra=schemas.body_of(schemas.DecideReview))
async def decide(review_id: str, request: Request, who: Submitting) -> Response:
    """Correct an answer, confirm it, or drop it from the list. The same said twice is fine; anything else needs `force`."""
    serving = serving_of(request)
    wanted = checked(schemas.DecideReview, await read_object(request))
    is_given = "answer" in wanted.model_fields_set
    if is_given != (wanted.action == "correct"):
        told = (
            "Give the whole `answer` with `correct`" if not is_given else "`answer` is for `correct` only: leave it out"
        )
        raise InvalidRequest(f"{told}.", param="answer")
    decision = Decision(wanted.action, wanted.answer, wanted.force)
    actor = Actor(who.owner.tenant_id, f"key_{who.key}")
    return answer(await serving.submit(reviewing.decide, serving.context, actor, review_id, decision))


@router.get("/batches/{batch_id}/reviewed")
async def of_batch(batch_id: str, request: Request, owner: Reader, after: After = None, limit: Limit = 20) -> Response:
    """Results of a batch that people corrected or confirmed: what stands in the place of the lines of its output file."""
    serving = serving_of(request)
    return answer(await serving.read(reviewing.of_batch, serving.context, owner, batch_id, after=after, limit=limit))
