"""Every response has an id of its own, which the official clients show as `request_id`."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import ids

HEADER: Final = b"x-request-id"


class Named:
    """ASGI middleware that names each response in `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, f"req_{ids.uuid7().hex}".encode())]
            await send(message)

        await self._app(scope, receive, named)
