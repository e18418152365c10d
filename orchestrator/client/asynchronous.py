"""The asynchronous client: many requests at once from one loop."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from orchestrator.client.address import checked_key, checked_url, network_error
from orchestrator.client.transport import content_of, error_of, object_of
from orchestrator.errors import ServiceUnavailable

CHAT: Final = "/v1/chat/completions"
CONNECT_S: Final = 10.0


class AsyncRightsize:
    """A Rightsize service: `async with AsyncRightsize("http://127.0.0.1:8000", key) as rightsize: ...`.

    It sends requests that are answered while one waits, as many at once as it has `connections`. Errors are those of
    `orchestrator.errors`, as with `Rightsize`, which does everything else.
    """

    def __init__(self, base_url: str, api_key: str, timeout_s: float = 660.0, *, connections: int = 100) -> None:
        self.base_url = checked_url(base_url)
        self._http = httpx2.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {checked_key(api_key)}"},
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S, pool=None),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )

    async def complete(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> dict[str, Any]:
        """Send one request and wait for its answer; not sent again by itself, since it may have been answered."""
        response = await self._post(endpoint, body)
        if response.status_code >= 400:
            raise error_of(response)
        found = object_of(response)
        if not found:
            raise ServiceUnavailable(f"{self.base_url} answered something that is not JSON. Is it a Rightsize service?")
        return found

    async def attempt(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> tuple[int, dict[str, Any]]:
        """The same, giving back status and JSON whatever the status; raises only where no answer came."""
        response = await self._post(endpoint, body)
        return response.status_code, object_of(response)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _post(self, endpoint: str, body: Mapping[str, Any]) -> httpx2.Response:
        try:
            return await self._http.post(
                endpoint, content=content_of(body), headers={"Content-Type": "application/json"}
            )
        except httpx2.TransportError as error:
            raise network_error(self.base_url, error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
