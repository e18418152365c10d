"""An engine that says what a test tells it to, in order, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from workers.engines.base import Chunk, EngineLimits, EngineRequest, Health, Load


class Scripted:
    def __init__(self, says: Sequence[str | EngineFault | dict[str, Any]], *, structured: bool = False) -> None:
        self.says = list(says)
        self.asked: list[dict[str, Any]] = []
        self._structured = structured

    async def load(self) -> None: ...

    async def perform(self, request: EngineRequest) -> Answer:
        self.asked.append(request.body)
        said = self.says.pop(0)
        if isinstance(said, EngineFault):
            raise said
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        if isinstance(said, dict):
            choice = {"index": 0, "finish_reason": "stop", **said}
        return Answer({"object": "chat.completion", "choices": [choice]}, Usage(10, 0, 5), "scripted@1")

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        yield Chunk([], answer=await self.perform(request))

    async def abort(self, job_id: str) -> None: ...

    def limits(self) -> EngineLimits:
        return EngineLimits(4, 1000, 100, streams=False, endpoints=frozenset(), structured=self._structured)

    def load_now(self) -> Load | None:
        return None

    async def health(self) -> Health:
        return Health(ready=True, detail="scripted")

    async def close(self) -> None: ...


class Speaking(Scripted):
    """Streams the chunks that a test gives it, one each turn of the loop; None is a wait that only an abort ends."""

    def __init__(self, chunks: Sequence[Chunk | EngineFault | None], *, structured: bool = False) -> None:
        super().__init__([], structured=structured)
        self.chunks = list(chunks)
        self.ended = 0
        """Streams that were read to their end, or closed."""
        self._aborted = asyncio.Event()

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request.body)
        try:
            for chunk in self.chunks:
                await asyncio.sleep(0)
                if chunk is None:
                    await self._aborted.wait()
                if self._aborted.is_set():
                    raise EngineFault("The request was aborted.", code="aborted", retryable=False, http_status=499)
                if isinstance(chunk, EngineFault):
                    raise chunk
                assert chunk is not None
                yield chunk
        finally:
            self.ended += 1

    async def abort(self, job_id: str) -> None:
        self._aborted.set()

    def limits(self) -> EngineLimits:
        return EngineLimits(4, 1000, 100, streams=True, endpoints=frozenset(), structured=self._structured)
