"""The worker's line to the API over Redis: the pieces of answers go out on it, and cuts of jobs come in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Final

from orchestrator.contracts import ClaimedJob
from orchestrator.settings import Settings
from orchestrator.telemetry import log_fault
from workers.cuts import Cuts
from workers.streaming import Pieces, Sink, connect

CLOSE_S: Final = 3.0


class Line:
    """Both ways, on the worker's loop. Started and stopped from outside of it."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, on_cut: Callable[[str], Awaitable[None]]
    ) -> None:
        """`on_cut` gets the public id of a job that nobody waits for any more, on the loop."""
        self._loop = loop
        self._redis = connect(settings)
        self._sink = Sink(self._redis)
        self._cuts = Cuts(self._redis, on_cut)
        self._listening: Future[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._listening = asyncio.run_coroutine_threadsafe(self._cuts.listen(), self._loop)

    def open(self, job: ClaimedJob) -> Pieces:
        """The way of one attempt's pieces."""
        return self._sink.open(job)

    def stop(self) -> None:
        """Hear and send nothing more. What hangs keeps nothing else from being put in order."""
        if self._listening is not None:
            self._listening.cancel()
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(CLOSE_S)
        except Exception as error:
            log_fault("pass_failed", error)

    async def _close(self) -> None:
        await self._sink.close()
        await self._redis.aclose()
