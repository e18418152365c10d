"""The same HTTP for asynchronous code: what is sent, read and borne is decided by the same parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2

from orchestrator.client.address import checked_key
from orchestrator.client.answers import error_of, found, object_of
from orchestrator.client.call import NOTHING, Call, Thing, get
from orchestrator.client.downloading import Download
from orchestrator.client.link import Link
from orchestrator.client.sending import AsyncSource, Form, Source
from orchestrator.client.transport import FILES
from orchestrator.errors import Busy, Refused, ServiceUnavailable

CONNECT_S: Final = 10.0


class AsyncTransport(Link):
    """Sends calls to one service, so many at once as it has connections."""

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float, connections: int, on_wait: Callable[[str], None] | None
    ) -> None:
        super().__init__(base_url, timeout_s, CONNECT_S, on_wait)
        self._http = httpx2.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {checked_key(api_key)}"},
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )

    async def answer(self, call: Call) -> Thing:
        """Send a call and read its JSON; raises a RightsizeError with the remedy."""
        patience = self.patience(call)
        while True:
            try:
                return self.heard(found(await self._send(call), self.base_url))
            except Busy as error:
                await asyncio.sleep(patience.pause_s(error))

    async def attempt(self, call: Call) -> tuple[int, Thing]:
        """Send a call once, and give back status and JSON whatever the status."""
        response = await self._send(call)
        return response.status_code, object_of(response)

    async def listed(self, path: str, page: int, query: Mapping[str, Any] = NOTHING) -> AsyncIterator[Thing]:
        """Every thing of a list, page by page."""
        after = None
        while True:
            told = await self.answer(get(path, {**query, "after": after, "limit": page}))
            for thing in told["data"]:
                yield thing
            if not told["has_more"]:
                return
            after = told["last_id"]

    async def upload(self, form: Form, source: Source | AsyncSource) -> Thing:
        """Send a form whose file is read while it is sent; again from the file's start, where it can be read again."""
        patience, call = self.persistence(), Call("POST", FILES)
        while True:
            content, headers = form.around_aside(source.read_aside()), form.headers(source.size)
            try:
                with self.told():
                    response = await self._http.post(
                        FILES, content=content, headers=headers, timeout=self.timeout(call)
                    )
                return self.heard(found(response, self.base_url))
            except ServiceUnavailable as error:
                if not source.may_repeat:
                    raise
                await asyncio.sleep(patience.pause_s(error))

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes of a file in pieces; a lost connection is made again, and goes on with the next byte."""
        download, patience = Download(path), self.persistence()
        while not download.is_whole:
            try:
                async with self.opened(download.call) as response:
                    download.begins(response.status_code, response.headers)
                    async for piece in response.aiter_raw():
                        patience.heard()
                        if new := download.took(piece):
                            yield new
                download.ended()
            except Refused as error:
                download.refused(error)
            except Busy as error:
                await asyncio.sleep(patience.pause_s(error))

    @asynccontextmanager
    async def opened(self, call: Call) -> AsyncIterator[httpx2.Response]:
        """A response whose body is read while it comes; raises what the service refused."""
        with self.told():
            async with self._http.stream(**call.arguments(), timeout=self.timeout(call)) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise error_of(response)
                self.heard({})
                yield response

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _send(self, call: Call) -> httpx2.Response:
        with self.told():
            return await self._http.request(**call.arguments(), timeout=self.timeout(call))
