"""Answers as they come: the chunks of a streamed answer, which hang up when they are closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Final, Self

import httpx2

from orchestrator.client.answers import JOB, failed_job, object_in
from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import Call, Thing
from orchestrator.client.transport import Transport
from orchestrator.errors import Busy, ServiceUnavailable

MOST_EVENT_BYTES: Final = 64 << 20
"""Of one event: what of an answer was lost on its way comes whole at its end."""
LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""The types of the last events of a response."""


class Reading:
    """Where the reader of a stream is. Pure."""

    def __init__(self) -> None:
        self.begun = False
        self._ended = False
        self._job_id = ""

    def opened(self, response: httpx2.Response) -> httpx2.EventSource:
        """The events of a response."""
        self._job_id = response.headers.get(JOB, "")
        return httpx2.EventSource(response, MOST_EVENT_BYTES)

    def chunk(self, event: httpx2.ServerSentEvent) -> Thing | None:
        """What an event says; None for the sign of the end. Raises JobFailed where it says that the answer broke off."""
        self.begun = True
        if event.data == "[DONE]":
            self._ended = True
            return None
        told = object_in(event)
        error = (
            (told.get("response") or {}).get("error") if told.get("type") == "response.failed" else told.get("error")
        )
        if error:
            raise failed_job(error, self._job_id)
        self._ended = told.get("type") in LAST
        return told

    def close(self) -> None:
        """The stream is at its end; raises ServiceUnavailable where that is not the end of the answer."""
        if not self._ended:
            told = f"; {self._job_id} says what became of it" if self._job_id else ""
            raise ServiceUnavailable(f"The answer broke off{told}. Ask again.")


class Stream:
    """The chunks of one answer. Iterate over it; `close`, or the end of a `with` block, hangs up."""

    def __init__(self, transport: Transport, call: Call) -> None:
        self._chunks = self._read(transport, call)

    @staticmethod
    def _read(transport: Transport, call: Call) -> Generator[Thing]:
        patience, reading = transport.patience(call), Reading()
        while True:
            try:
                with transport.opened(call) as response:
                    for event in reading.opened(response):
                        if (chunk := reading.chunk(event)) is not None:
                            yield chunk
                return reading.close()
            except Busy as error:
                if reading.begun:
                    raise
                time.sleep(patience.pause_s(error))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Thing:
        return next(self._chunks)

    def close(self) -> None:
        """Hang up: an answer that is not whole is cut where it is, and charged so far."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream:
    """The same for asynchronous code: `async for`, within `async with` where it may be left before its end."""

    def __init__(self, transport: AsyncTransport, call: Call) -> None:
        self._chunks = self._read(transport, call)

    @staticmethod
    async def _read(transport: AsyncTransport, call: Call) -> AsyncGenerator[Thing]:
        patience, reading = transport.patience(call), Reading()
        while True:
            try:
                async with transport.opened(call) as response:
                    async for event in reading.opened(response):
                        if (chunk := reading.chunk(event)) is not None:
                            yield chunk
                reading.close()
                return
            except Busy as error:
                if reading.begun:
                    raise
                await asyncio.sleep(patience.pause_s(error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Thing:
        return await anext(self._chunks)

    async def close(self) -> None:
        """Hang up: an answer that is not whole is cut where it is, and charged so far."""
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
