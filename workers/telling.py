"""Telling: an answer handed on piece by piece while the engine writes it, or stopped where nobody waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from orchestrator.requests import POOLING
from orchestrator.structured import form_of
from workers import deliberation, forms
from workers.deliberation import Wanted
from workers.engines.answer_body import usage_body
from workers.engines.assembly import CHAT, Assembly, as_pieces
from workers.engines.base import Chunk, Engine, EngineRequest
from workers.engines.prompt import count_images
from workers.engines.server_answer import estimated
from workers.streaming import Pieces

_THOUGHTS: Final = ("reasoning_content", "reasoning")


async def perform(engine: Engine, request: EngineRequest, wanted: Wanted, pieces: Pieces) -> Answer:
    """The engine's answer, of which the pieces were sent while they came; raises EngineFault.

    What cannot be said before it is whole is performed as otherwise, and nothing of it is sent: see `tell_whole`.
    """
    if not may_stream(engine, request, wanted):
        return await deliberation.perform(engine, request, wanted)
    heard, teller = Assembly(request.endpoint), Teller(request.endpoint, wanted, pieces)
    chunk: Chunk | None = None
    try:
        async with aclosing(engine.stream(request)) as chunks:
            async for chunk in chunks:
                heard.add(chunk.choices)
                teller.tell(chunk)
    except EngineFault as fault:
        if pieces.cut and fault.fault_code == "aborted" and chunk is not None:
            return _cut(request, heard, chunk)
        raise
    if chunk is None or chunk.answer is None:
        raise EngineFault("The engine's stream ended without its answer.", code="cut_stream", retryable=True)
    answer = forms.with_sound(request, chunk.answer)
    forms.check_told(request, answer)
    return answer


def may_stream(engine: Engine, request: EngineRequest, wanted: Wanted) -> bool:
    """Whether an answer can be said before it is whole: no vote is taken on it, and it needs no mending of its form."""
    limits = engine.limits()
    if wanted.samples > 1 or request.endpoint in POOLING or not limits.streams:
        return False
    return limits.structured or form_of(request.body) is None


def tell_whole(answer: Answer, endpoint: str, wanted: Wanted, pieces: Pieces) -> None:
    """Send a whole answer as one piece, unless something of it was sent already."""
    if not pieces.said:
        Teller(endpoint, wanted, pieces).tell_whole(answer)


class Teller:
    """Sends what a caller is to see of the chunks of one answer."""

    def __init__(self, endpoint: str, wanted: Wanted, pieces: Pieces) -> None:
        self._chat, self._wanted, self._pieces = endpoint == CHAT, wanted, pieces
        self._begun: set[int] = set()
        self._before: list[dict[str, Any]] = []
        """What came before the first word: it goes with that, so that nothing was said until then."""

    def tell(self, chunk: Chunk) -> None:
        """Send the piece; nothing where there is nothing to see in it."""
        rows = [row for row in map(self._seen, chunk.choices) if row is not None]
        if not self._begun and not any(map(_has_words, rows)):
            self._before += rows
            return
        for one in ([row] for row in self._before):
            self._send(one, chunk)
        self._before = []
        self._send(rows, chunk)

    def tell_whole(self, answer: Answer) -> None:
        """Send a whole answer as one piece."""
        self._send(as_pieces(answer.body), Chunk([], answer.usage))

    def _send(self, rows: Sequence[dict[str, Any]], chunk: Chunk) -> None:
        self._pieces.add([self._begun_with(row) for row in rows], chunk.usage)

    def _seen(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A choice without its thought, or with it under one name; None if nothing is left."""
        if not self._chat:
            return row if _tells(row) else None
        delta = dict(row["delta"])
        delta.pop("role", None)
        thought = next(filter(None, [delta.pop(name, None) for name in _THOUGHTS]), None)
        row = {**row, "delta": delta}
        if thought and self._wanted.reasoning:
            delta["reasoning"] = thought
        elif thought and not _has_words(row):
            row.pop("logprobs", None)  # they are the thought's
        return row if _tells(row) else None

    def _begun_with(self, row: dict[str, Any]) -> dict[str, Any]:
        """The first piece of a choice says whose it is."""
        if row["index"] in self._begun:
            return row
        self._begun.add(row["index"])
        return {**row, "delta": {"role": "assistant", **row["delta"]}} if self._chat else row


def _has_words(row: dict[str, Any]) -> bool:
    return any(row["delta"].values()) if "delta" in row else bool(row.get("text"))


def _tells(row: dict[str, Any]) -> bool:
    return bool(_has_words(row) or row.get("logprobs") or row["finish_reason"])


def _cut(request: EngineRequest, heard: Assembly, last: Chunk) -> Answer:
    """What was said until nobody waited any more, as a whole answer: it is what was consumed, and what is charged."""
    choices = heard.whole()
    for row in choices:
        row["finish_reason"] = row["finish_reason"] or "abort"
        message = row.get("message")
        if message is not None and message["content"] is None and "tool_calls" not in message:
            message["content"] = ""
    body: dict[str, Any] = {
        "id": f"{'chatcmpl' if request.endpoint == CHAT else 'cmpl'}-{request.job_id}",
        "object": "chat.completion" if request.endpoint == CHAT else "text_completion",
        "created": int(time.time()),
        "choices": choices,
        "rightsize_cut": {"estimated_usage": last.usage is None},
    }
    usage: Usage = last.usage or estimated(request, body, count_images(request.body))
    usage = replace(usage, audio_seconds=request.audio_seconds)
    body["usage"] = usage_body(usage)
    return Answer(body, usage, last.model_revision, last.simulated)
