"""Answers that are streamed: server-sent events while the model writes, from the worker's pieces in Redis.

Pieces are a hint like all that lies in Redis. The recorded answer has the last word: what of it was not streamed, because a piece
was lost or the reader was too slow for what its stream may hold, follows before the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import orjson
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.api.answers import Piece, Reply
from orchestrator.api.asking import GRACE_S, PIECE_S, Asked, call_off, failed, hung_up, late, note_of, stored
from orchestrator.api.failures import CLIENT_GONE
from orchestrator.api.serving import Serving, serving_of
from orchestrator.requests import CHAT

KEEP_ALIVE_S: Final = 15.0
"""A comment is sent after so long without a piece, so that nobody on the way takes the connection for dead."""
CUT_WITHIN_S: Final = 3.0
"""How long a worker may take to record what it had written when the caller hung up; then the job is cancelled."""
GONE: Final = "gone"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
Choices = Sequence[Mapping[str, Any]]
Entries = AsyncGenerator[Piece | Reply | None, None]


class Writer(Protocol):
    """Puts an answer into the events of one API."""

    def begin(self) -> Iterator[bytes]:
        """What stands before the first piece."""

    def piece(self, choices: Choices) -> Iterator[bytes]:
        """What one piece says."""

    def end(self, body: Mapping[str, Any], reply: Reply) -> Iterator[bytes]:
        """The rest of the recorded answer, and the end."""

    def broke(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        """The answer will not be had."""


async def streamed(request: Request, asked: Asked, writer: Writer) -> Response:
    """The answer to an accepted request as it comes. What fails before the first piece is an ordinary error response."""
    serving = serving_of(request)
    entries = _entries(serving, asked)
    first = await _first(request, serving, asked, entries)
    if isinstance(first, str):
        return Response(status_code=CLIENT_GONE)
    if first is None or (isinstance(first, Reply) and first.body is None):
        await entries.aclose()
        return late(asked) if first is None else failed(asked, first)
    headers = {"x-rightsize-job": asked.name, **HEADERS, **asked.headers}
    return StreamingResponse(
        _events(serving, asked, writer, first, entries), headers=headers, media_type="text/event-stream"
    )


async def _first(
    request: Request, serving: Serving, asked: Asked, entries: Entries
) -> Piece | Reply | Literal["gone"] | None:
    """The first entry, unless the caller hangs up before it."""
    coming, gone = asyncio.ensure_future(anext(entries)), asyncio.ensure_future(hung_up(request))
    try:
        await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return coming.result()
    finally:
        gone.cancel()
        if not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await entries.aclose()
            _let_go(serving, asked)
    return GONE


async def _events(
    serving: Serving, asked: Asked, writer: Writer, first: Piece | Reply, entries: Entries
) -> AsyncIterator[bytes]:
    ended = False
    try:
        for event in writer.begin():
            yield event
        one: Piece | Reply | None = first
        order = Order()
        while True:
            if isinstance(one, Piece):
                if one.is_pause:
                    yield b": the model is at work\n\n"
                elif order.follows(one):
                    for event in writer.piece(one.choices):
                        yield event
                elif order.began_anew:
                    break
            else:
                break
            one = await anext(entries)
        ended = True
        for event in _last(asked, writer, one):
            yield event
    finally:
        await entries.aclose()
        if not ended:
            _let_go(serving, asked)


def _last(asked: Asked, writer: Writer, one: Piece | Reply | None) -> Iterator[bytes]:
    if isinstance(one, Reply) and one.body is not None:
        yield from writer.end(orjson.loads(one.body), one)
    elif isinstance(one, Reply):
        yield from writer.broke(
            {"message": f"{one.message or 'The request failed.'} ({asked.name})", "code": one.code or "failed"}
        )
    elif isinstance(one, Piece):
        yield from writer.broke(
            {
                "message": f"The worker that wrote this was lost, and another begins anew. Ask again. ({asked.name})",
                "code": "stream_interrupted",
            }
        )
    else:
        yield from writer.broke(
            {"message": f"The time was up before the answer was whole. ({asked.name})", "code": "timeout"}
        )


@dataclass(slots=True)
class Order:
    """Whether pieces are the next of one attempt: ones that are missing leave the rest to the recorded answer."""

    attempt: int | None = None
    number: int = 0
    has_gap: bool = False
    began_anew: bool = False

    def follows(self, piece: Piece) -> bool:
        """Whether a piece may be shown."""
        if self.attempt is None:
            self.attempt = piece.attempt
        if piece.attempt != self.attempt:
            self.began_anew = self.number > 0
            self.attempt, self.number = piece.attempt, 0
            if self.began_anew:
                return False
        if self.has_gap or piece.number != self.number:
            self.has_gap = True
            return False
        self.number += 1
        return True


async def _entries(serving: Serving, asked: Asked) -> Entries:
    """Pieces, pauses and at the end the reply, or None when the time is up."""
    give_up = time.monotonic() + asked.within_s + GRACE_S
    job, after, quiet_since = asked.made.public_id, "0", time.monotonic()
    while (left := give_up - time.monotonic()) > 0:
        after, found = await serving.answers.follow(job, after, min(left, PIECE_S))
        for one in found:
            yield one
            if isinstance(one, Reply):
                return
        if found:
            quiet_since = time.monotonic()
            continue
        reply = await stored(serving, asked)
        if reply is not None:
            yield reply
            return
        if after != "0" and time.monotonic() - quiet_since > KEEP_ALIVE_S:
            quiet_since = time.monotonic()
            yield Piece.pause()
    yield None


def _let_go(serving: Serving, asked: Asked) -> None:
    """The caller hung up: what was written until now is recorded and charged, and the engine is free. Who gave a key comes back."""
    if not asked.keyed:
        serving.later(_cut(serving, asked))


async def _cut(serving: Serving, asked: Asked) -> None:
    job = asked.made.public_id
    await serving.submit(serving.context.broker.cut, job.hex)
    until = time.monotonic() + CUT_WITHIN_S
    while time.monotonic() < until:
        if await stored(serving, asked) is not None:
            return
        await asyncio.sleep(0.2)
    await serving.submit(call_off, serving, asked)


@dataclass(slots=True)
class Shown:
    """What of one choice was streamed."""

    texts: dict[str, str] = field(default_factory=dict)
    calls: bool = False
    begun: bool = False


class ChatWriter:
    """OpenAI's chunks of `chat/completions` and `completions`."""

    def __init__(self, asked: Asked, endpoint: str) -> None:
        self._asked = asked
        self._is_chat = endpoint == CHAT
        job = asked.made.public_id.hex
        self._head = {
            "id": f"chatcmpl-{job}" if self._is_chat else f"cmpl-{job}",
            "object": "chat.completion.chunk" if self._is_chat else "text_completion",
            "created": int(time.time()),
            "model": asked.made.job.model,
        }
        options = asked.body.get("stream_options") or {}
        self._with_usage = bool(options.get("include_usage"))
        self._shown: dict[int, Shown] = {}

    def begin(self) -> Iterator[bytes]:
        """Nothing: the first piece says who speaks."""
        return iter(())

    def piece(self, choices: Choices) -> Iterator[bytes]:
        """One chunk; the reason why an answer ended waits for the end, where the rest of it may still follow."""
        rows = [row for choice in choices if (row := self._row(choice)) is not None]
        if rows:
            yield self._event(rows)

    def end(self, body: Mapping[str, Any], reply: Reply) -> Iterator[bytes]:
        """What is missing of each choice with its reason to end, the usage where it is asked for, and the end."""
        if any(self._contradicts(choice) for choice in body.get("choices") or ()):
            yield from self.broke({"message": "Another attempt was recorded than the one that was streamed. Ask again.",
                                   "code": "stream_interrupted"})  # fmt: skip
            return
        rows = [self._rest(choice) for choice in body.get("choices") or ()]
        note = note_of(self._asked, reply)
        ours = {name: value for name, value in body.items() if name.startswith("rightsize_")}
        yield self._event(rows, rightsize=note, **ours)
        if self._with_usage:
            yield self._event([], usage=body.get("usage"), rightsize=note)
        yield b"data: [DONE]\n\n"

    def broke(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        """OpenAI's error as the last event."""
        yield b"data: " + orjson.dumps({"error": {"type": "server_error", "param": None, **error}}) + b"\n\n"

    def _row(self, choice: Mapping[str, Any]) -> dict[str, Any] | None:
        index = choice.get("index", 0)
        shown = self._shown.setdefault(index, Shown())
        told: dict[str, Any] = dict(choice.get("delta") or {}) if self._is_chat else {"text": choice.get("text") or ""}
        for name, value in told.items():
            if isinstance(value, str) and name != "role":
                shown.texts[name] = shown.texts.get(name, "") + value
        shown.calls = shown.calls or "tool_calls" in told
        if not any(told.values()) and not choice.get("logprobs"):
            return None
        return self._form(index, shown, told, choice.get("logprobs"), None)

    def _contradicts(self, choice: Mapping[str, Any]) -> bool:
        """Whether a recorded choice says something else than what was streamed of it."""
        said: Mapping[str, Any] = (choice.get("message") or {}) if self._is_chat else {"text": choice.get("text")}
        shown = self._shown.get(choice.get("index", 0), Shown())
        return any(not str(said.get(name) or "").startswith(text) for name, text in shown.texts.items())

    def _rest(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """The last chunk of one choice: what of the recorded answer was not streamed."""
        index = choice.get("index", 0)
        shown = self._shown.setdefault(index, Shown())
        said: Mapping[str, Any] = (choice.get("message") or {}) if self._is_chat else {"text": choice.get("text")}
        told: dict[str, Any] = {}
        for name, value in said.items():
            if isinstance(value, str) and name != "role" and (more := _beyond(value, shown.texts.get(name, ""))):
                told[name] = more
        if said.get("tool_calls") and not shown.calls:
            told["tool_calls"] = [{"index": place, **call} for place, call in enumerate(said["tool_calls"])]
        logprobs = None if shown.begun else choice.get("logprobs")
        return self._form(index, shown, told, logprobs, choice.get("finish_reason") or "stop")

    def _form(
        self, index: int, shown: Shown, told: dict[str, Any], logprobs: object, finish_reason: str | None
    ) -> dict[str, Any]:
        if self._is_chat:
            who = {} if shown.begun else {"role": "assistant", "content": ""}
            row: dict[str, Any] = {"index": index, "delta": {**who, **told}}
        else:
            row = {"index": index, "text": told.get("text", "")}
        shown.begun = True
        return {**row, "logprobs": logprobs, "finish_reason": finish_reason}

    def _event(self, rows: list[dict[str, Any]], **more: Any) -> bytes:
        usage = {"usage": None} if self._with_usage else {}
        return b"data: " + orjson.dumps({**self._head, "choices": rows, **usage, **more}) + b"\n\n"


def _beyond(whole: str, shown: str) -> str:
    """What of a text was not shown yet; nothing where another one was shown."""
    return whole[len(shown) :] if whole.startswith(shown) else ""
