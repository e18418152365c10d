"""`/v1/responses`: OpenAI's Responses API, answered by a chat (`orchestrator/responses/` translates), streamed or not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api.answers import Reply
from orchestrator.api.asking import Asked, ask, awaited, note_of
from orchestrator.api.auth import Reader, Submitter
from orchestrator.api.bodies import answer
from orchestrator.api.documented.asked import body_of_endpoint
from orchestrator.api.serving import Serving, serving_of
from orchestrator.api.streaming import Choices, streamed
from orchestrator.contracts import ASKED, TERMINAL, JobState, Owner
from orchestrator.errors import NotFound
from orchestrator.requests import RESPONSES
from orchestrator.responses.answer import shell
from orchestrator.responses.events import Events
from orchestrator.store import jobs

router = APIRouter(prefix=RESPONSES, tags=["interactive"])


@router.post("", openapi_extra=body_of_endpoint(RESPONSES))
async def create(request: Request, owner: Submitter) -> Response:
    """Answer a request in the form of OpenAI's Responses API."""
    asked = await ask(request, owner, RESPONSES)
    if not asked.body.get("stream"):
        return await awaited(request, asked)
    return await streamed(request, asked, ResponseWriter(asked))


@router.get("/{response_id}")
async def retrieve(response_id: str, request: Request, owner: Reader) -> Response:
    """A response that was made before: every answer is kept for the installation's retention."""
    serving = serving_of(request)
    return answer(await serving.read(_retrieve, serving, owner, ids.parse("resp", response_id)))


class ResponseWriter:
    """The events of a streamed response."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        name = ids.public("resp", asked.made.public_id)
        self._events = Events(asked.body, name, int(time.time()), asked.made.job.model)

    def begin(self) -> Iterator[bytes]:
        """The response has been accepted, and its model is at work."""
        return _framed(self._events.begin())

    def piece(self, choices: Choices) -> Iterator[bytes]:
        """What one piece adds."""
        return _framed(self._events.piece(choices))

    def end(self, body: Mapping[str, Any], reply: Reply) -> Iterator[bytes]:
        """The rest of the recorded response, and the response itself."""
        return _framed(self._events.end({**body, "rightsize": note_of(self._asked, reply)}))

    def broke(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        """The response has failed."""
        return _framed(self._events.failed(error))


def _framed(events: list[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        yield b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _retrieve(serving: Serving, owner: Owner, public_id: UUID) -> dict[str, Any]:
    name = ids.public("resp", public_id)
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        row = jobs.find(session, owner.tenant_id, public_id)
        if row is None or row.endpoint != RESPONSES:
            raise NotFound(f"There is no response {name}.")
        found = jobs.result(session, row.id, row.stored_on) if row.state == JobState.SUCCEEDED else None
        stored = jobs.request(session, row.id, row.stored_on)
    blobs = serving.context.blobs
    if found is not None:
        body: dict[str, Any] = orjson.loads(blobs.get(found.blob_key) if found.blob_key else found.body)
        return body
    content = None if stored is None else blobs.get(stored.blob_key) if stored.blob_key else stored.body
    asked = orjson.loads(content).get(ASKED) or {} if content else {}
    response = shell(asked, name, int(row.created_at.timestamp()), row.model)
    if JobState(row.state) in TERMINAL:
        cancelled = row.state == JobState.CANCELLED
        error = {"code": "server_error", "message": row.fault_message or "The request failed."}
        response.update(status="cancelled" if cancelled else "failed", error=None if cancelled else error)
    return response
