"""`POST /v1/chat/completions`, `/completions`, `/embeddings`, `/classify`, `/score`: one request, answered while the caller waits."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from orchestrator.api.asking import answered, ask, awaited
from orchestrator.api.auth import Submitter
from orchestrator.api.documented.asked import body_of_endpoint
from orchestrator.api.streaming import ChatWriter, streamed
from orchestrator.contracts import Owner
from orchestrator.requests import CHAT, CLASSIFY, EMBEDDINGS, SCORE

router = APIRouter(tags=["interactive"])


@router.post(CHAT, openapi_extra=body_of_endpoint(CHAT))
async def chat(request: Request, owner: Submitter) -> Response:
    """Answer a chat; `model` is auto, a tier or a model, and `rightsize` holds hints."""
    return await _told(request, owner, CHAT)


@router.post("/v1/completions", openapi_extra=body_of_endpoint("/v1/completions"))
async def completions(request: Request, owner: Submitter) -> Response:
    """Complete a prompt."""
    return await _told(request, owner, "/v1/completions")


@router.post(EMBEDDINGS, openapi_extra=body_of_endpoint(EMBEDDINGS))
async def embeddings(request: Request, owner: Submitter) -> Response:
    """Embed text."""
    return await answered(request, owner, EMBEDDINGS)


@router.post(CLASSIFY, openapi_extra=body_of_endpoint(CLASSIFY))
async def classify(request: Request, owner: Submitter) -> Response:
    """Give each text the probability of each label of the model."""
    return await answered(request, owner, CLASSIFY)


@router.post(SCORE, openapi_extra=body_of_endpoint(SCORE))
async def score(request: Request, owner: Submitter) -> Response:
    """Say how well each document answers its query."""
    return await answered(request, owner, SCORE)


async def _told(request: Request, owner: Owner, endpoint: str) -> Response:
    """The answer whole, or as it comes where the request asks for that."""
    asked = await ask(request, owner, endpoint)
    if not asked.body.get("stream"):
        return await awaited(request, asked)
    return await streamed(request, asked, ChatWriter(asked, endpoint))
