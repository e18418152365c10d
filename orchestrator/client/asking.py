"""Requests that are answered while one waits: whole, or chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import ANSWER_WITHIN_S, CHAT, Call, Thing
from orchestrator.client.streams import AsyncStream, Stream
from orchestrator.client.transport import Transport


def ask_call(body: Mapping[str, Any], endpoint: str, key: str | None, within_s: float) -> Call:
    """Asks for an answer. Only under a key it may be sent again: without one it may have been answered."""
    return Call("POST", endpoint, body=body, key=key, again=key is not None, within_s=within_s)


def stream_call(body: Mapping[str, Any], endpoint: str, key: str | None, within_s: float) -> Call:
    """Asks for an answer as it comes."""
    return ask_call({**body, "stream": True}, endpoint, key, within_s)


class Asking:
    """Asks, and waits for the answer."""

    _transport: Transport

    def complete(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, key: str | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> Thing:  # fmt: skip
        """Send one request and wait for its answer; raises JobFailed where the job failed, and Busy where none was made.

        Under an idempotency `key` a lost answer is asked for again, and is the same one; without a key it is sent once.
        """
        return self._transport.answer(ask_call(body, endpoint, key, timeout_s))

    def stream(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, key: str | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> Stream:  # fmt: skip
        """The chunks of an answer as they come, in the API's own form; the last one carries `rightsize`.

        It is asked for at the first chunk. Raises JobFailed where the answer breaks off. `timeout_s` is the longest silence.
        """
        return Stream(self._transport, stream_call(body, endpoint, key, timeout_s))


class AsyncAsking:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    async def complete(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, key: str | None = None, timeout_s: float | None = None
    ) -> Thing:
        """Send one request and wait for its answer; see `Asking.complete`. `timeout_s` is the client's, if not given."""
        within_s = timeout_s or self._transport.timeout_s
        return await self._transport.answer(ask_call(body, endpoint, key, within_s))

    async def attempt(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> tuple[int, Thing]:
        """The same once, giving back status and JSON whatever the status; raises only where no answer came."""
        return await self._transport.attempt(ask_call(body, endpoint, None, self._transport.timeout_s))

    def stream(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, key: str | None = None, timeout_s: float | None = None
    ) -> AsyncStream:
        """The chunks of an answer as they come; see `Asking.stream`."""
        within_s = timeout_s or self._transport.timeout_s
        return AsyncStream(self._transport, stream_call(body, endpoint, key, within_s))
