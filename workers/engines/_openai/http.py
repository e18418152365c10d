"""The HTTP under the engine: requests out, bounded answers in, and every way to fail as an EngineFault.

Three clocks run on a request: `connect_timeout_s` until there is a connection, `first_byte_timeout_s` for any silence of a
streamed answer (one that is not streamed comes whole, after as long a silence as the model thinks), and, held by the engine,
the smaller of `timeout_s` and the job's deadline for everything, also against a server that drips a byte now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final

import httpx2

from orchestrator.errors import EngineFault
from orchestrator.fleet import Model
from workers.engines._openai.faults import Unreached, from_error_body, from_exception, from_status
from workers.engines.server_answer import bad_answer, parsed

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""The most that an answer may come to once it is decompressed."""
_MAX_ERROR_BYTES: Final = 64 * 1024
_PARSE_APART_BYTES: Final = 256 * 1024
_DRAIN_S: Final = 0.05
_JSON: Final = {"Content-Type": "application/json"}
_FAULTS: Final = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
_UNREACHED: Final = (httpx2.ConnectTimeout, httpx2.NetworkError, httpx2.RemoteProtocolError)


class Wire:
    """A pool of connections to the servers of one model."""

    def __init__(self, model: Model, key: str | None, connections: int) -> None:
        self._model = model
        self._key = key
        silence = model.first_byte_timeout_s
        self._streamed = httpx2.Timeout(connect=model.connect_timeout_s, read=silence, write=silence, pool=None)
        self._whole = httpx2.Timeout(connect=model.connect_timeout_s, read=None, write=silence, pool=None)
        self._client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "gzip", **({"Authorization": f"Bearer {key}"} if key else {})},
            timeout=self._streamed,
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0
            ),
            follow_redirects=False,
            trust_env=False,
        )

    @asynccontextmanager
    async def sent(self, url: str, payload: bytes, key: str, *, stream: bool) -> AsyncIterator[httpx2.Response]:
        """The good answer to a request from its head on; raises Unreached where no byte of one came.

        `key` is the entry of rightsize.toml that names the server.
        """
        timeout = self._streamed if stream else self._whole
        begun = False
        try:
            async with self._client.stream("POST", url, content=payload, headers=_JSON, timeout=timeout) as response:
                begun = True
                await self._check_status(response)
                yield response
        except _FAULTS as error:
            fault = from_exception(error, self._model, key)
            if not begun and isinstance(error, _UNREACHED):
                connected = not isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError)
                raise Unreached.of(fault, counts=not connected, elsewhere=True) from None
            raise fault from None

    async def got(self, url: str, most: int) -> bytes:
        """The whole body of a good answer to GET; raises EngineFault, also where it is longer than `most`."""
        try:
            async with self._client.stream("GET", url, timeout=self._whole) as response:
                await self._check_status(response)
                return await _bounded(response, most)
        except _FAULTS as error:
            raise from_exception(error, self._model) from None

    async def body(self, response: httpx2.Response) -> dict[str, Any]:
        """The object in a whole answer; a large one is parsed off the loop."""
        data = await _bounded(response, MAX_ANSWER_BYTES)
        return self._checked(await asyncio.to_thread(parsed, data) if len(data) > _PARSE_APART_BYTES else parsed(data))

    async def events(self, response: httpx2.Response) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a streamed answer up to [DONE], or the one object of a server that does not stream."""
        if "event-stream" not in response.headers.get("content-type", ""):
            yield await self.body(response)
            return
        size = 0
        events = aiter(httpx2.EventSource(response))
        async for event in events:
            if event.data.strip() == "[DONE]":
                await _drain(events)
                return
            size += len(event.data)
            if size > MAX_ANSWER_BYTES:
                raise _too_large(MAX_ANSWER_BYTES)
            if event.data:
                yield self._checked(parsed(event.data.encode()))
        raise bad_answer("cut_stream", "The server's stream broke off before its end mark.")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("error"):
            raise from_error_body(body["error"], self._model, self._key)
        return body

    async def _check_status(self, response: httpx2.Response) -> None:
        if not 200 <= response.status_code < 300:
            start = await _bounded(response, _MAX_ERROR_BYTES, cut=True)
            fault = from_status(response.status_code, response.headers, start, self._model, self._key)
            raise Unreached.of(fault, counts=True) if response.status_code >= 500 and not start.strip() else fault


async def _bounded(response: httpx2.Response, most: int, *, cut: bool = False) -> bytes:
    """The decompressed body up to `most` bytes; one that is longer is cut, or a fault."""
    data = bytearray()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > most:
                if cut:
                    return bytes(data[:most])
                raise _too_large(most)
    return bytes(data)


async def _drain(events: AsyncIterator[Any]) -> None:
    """Read the few bytes after the end mark, so that the connection can serve the next request."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await anext(events, None)


def _too_large(most: int) -> EngineFault:
    return bad_answer("answer_too_large", f"The server's answer is over {most // 2**20} MiB.")
