"""The asynchronous client: the same verbs, many at once from one loop."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from orchestrator.client.asking import AsyncAsking
from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.documents import AsyncDocumentVerbs
from orchestrator.client.forget import AsyncForgets
from orchestrator.client.insight import AsyncInsight
from orchestrator.client.jobs import AsyncJobs
from orchestrator.client.review import AsyncReviews
from orchestrator.client.webhooks import AsyncWebhooks


class AsyncRightsize(AsyncDocumentVerbs, AsyncJobs, AsyncReviews, AsyncForgets, AsyncAsking, AsyncInsight):
    """A Rightsize service: `async with AsyncRightsize("http://127.0.0.1:8000", key) as rightsize: ...`.

    It has the verbs of `Rightsize` but for administration, and sends as many requests at once as it has `connections`. Files
    are read on threads, so that the loop never stands still. Errors are those of `orchestrator.errors`, as with `Rightsize`.
    """

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float = 660.0, *, connections: int = 100,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._transport = AsyncTransport(base_url, api_key, timeout_s, connections, on_wait)
        self.base_url = self._transport.base_url
        self.webhooks = AsyncWebhooks(self._transport)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
