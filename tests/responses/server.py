"""A server of `/v1/responses` on a real port, over canned chats: uvicorn in a thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from orchestrator.errors import InvalidRequest
from orchestrator.hints import NO_HINTS
from orchestrator.requests import CHAT, features_of
from orchestrator.responses.answer import from_chat
from orchestrator.responses.events import Events
from orchestrator.responses.request import to_chat
from tests.responses.canned import chunks
from tests.stack import until

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""From the body of a chat to its answer."""
CREATED = 1_790_000_000


@dataclass
class Served:
    """A running server: what it answers, and the chats that it was asked."""

    url: str
    client: openai.OpenAI
    """The official client, as it is."""
    answer: Answer
    fails_after: int | None = None
    """The stream breaks off after so many chunks."""
    chats: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def serve(answer: Answer) -> Iterator[Served]:
    """Serve responses, each chat of which is answered by `answer`."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=30) as client:
        served = Served(url, client, answer)
        server = uvicorn.Server(uvicorn.Config(_app(served), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started, 10, "the server is up")
            yield served
        finally:
            server.should_exit = True
            thread.join(20)
            listening.close()


def _app(served: Served) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/responses")
    async def responses(request: Request) -> Response:
        asked = await request.json()
        try:
            chat = to_chat(asked)
            features_of(CHAT, chat, NO_HINTS, streams=True)
        except InvalidRequest as refused:
            error = {
                "message": refused.message,
                "type": "invalid_request_error",
                "param": refused.param,
                "code": refused.code,
            }
            return JSONResponse({"error": error}, 400)
        served.chats.append(chat)
        answer, own = served.answer(chat), f"resp_{len(served.chats):032x}"
        if chat.get("stream"):
            return StreamingResponse(_stream(served, asked, answer, own), media_type="text/event-stream")
        return JSONResponse(from_chat(answer, asked, own, CREATED))

    return app


def _stream(served: Served, asked: dict[str, Any], answer: dict[str, Any], own: str) -> Iterator[str]:
    events = Events(asked, own, CREATED, answer["model"])
    yield from map(_framed, events.begin())
    for number, choices in enumerate(chunks(answer)):
        if number == served.fails_after:
            failure = {
                "message": "The worker is gone.",
                "type": "server_error",
                "param": None,
                "code": "connection_lost",
            }
            yield from map(_framed, events.failed(failure))
            return
        yield from map(_framed, events.piece(choices))
    yield from map(_framed, events.end(from_chat(answer, asked, own, CREATED)))


def _framed(event: dict[str, Any]) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
