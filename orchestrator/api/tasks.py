"""`/v1/tasks`: named kinds of work, in versions. `/v1/documents/known`: which documents were answered before."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orchestrator.api import schemas
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.flow import documents, tasks
from orchestrator.flow.submit import shared_in
from orchestrator.hints import hints_from
from orchestrator.store import reuse

router = APIRouter(prefix="/v1", tags=["tasks"])

Version = Annotated[int | None, Query(ge=1, le=10**6, description="The latest where it is left out.")]
MOST_HASHES: Final = schemas.MOST_HASHES


@router.get("/tasks")
async def listed(request: Request, owner: Reader) -> Response:
    """The tenant's tasks, each in its latest version, and those that come with Rightsize."""
    serving = serving_of(request)
    found = await serving.read(tasks.listed, serving.context, owner)
    return answer({"object": "list", "data": found})


@router.post("/tasks", openapi_extra=schemas.body_of(schemas.DefineTask))
async def define(request: Request, owner: Submitter) -> Response:
    """Define a task, or edit one: a definition that differs is its next version, and old results keep theirs."""
    serving = serving_of(request)
    wanted = checked(schemas.DefineTask, await read_object(request))
    return answer(await serving.submit(tasks.define, serving.context, owner, wanted.definition))


@router.get("/tasks/{task_name}")
async def show(task_name: str, request: Request, owner: Reader, version: Version = None) -> Response:
    """A task in one version."""
    serving = serving_of(request)
    return answer(await serving.read(tasks.show, serving.context, owner, task_name, version))


@router.get("/tasks/{task_name}/versions")
async def versions(task_name: str, request: Request, owner: Reader) -> Response:
    """Every version of a task, the newest first; also those that only have a batch's parameters in their places."""
    serving = serving_of(request)
    found = await serving.read(tasks.history, serving.context, owner, task_name)
    return answer({"object": "list", "data": found})


@router.post("/documents/known", openapi_extra=schemas.body_of(schemas.KnownDocuments))
async def known(request: Request, owner: Submitter) -> Response:
    """Which of some documents a batch of this task would not run again, since their results are there."""
    serving = serving_of(request)
    wanted = checked(schemas.KnownDocuments, await read_object(request))
    return answer(await serving.submit(_known, serving, owner, wanted))


def _known(serving: Serving, owner: Owner, wanted: schemas.KnownDocuments) -> dict[str, Any]:
    context = serving.context
    with context.database.unit_of_work(owner.tenant_id) as session:
        version = tasks.resolve(session, owner, wanted.task, wanted.task_version, wanted.parameters or {})
    hints = documents.within(version, hints_from(shared_in(wanted.rightsize or {}) or None))
    fleet = context.config.fleet
    keys = {documents.reuse_key(one, version.digest, "auto", hints, fleet): one for one in wanted.hashes}
    found = reuse.known(context.database, owner.tenant_id, list(keys))
    return {
        "object": "known_documents", "task": wanted.task, "task_version": version.version,
        "reading": version.task.reading.model_dump(mode="json"), "known": [keys[key] for key in found],
    }  # fmt: skip
