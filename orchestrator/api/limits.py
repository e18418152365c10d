"""Bounds on what comes in: its size, its depth, and the time that its sender may take."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.failures import of_error
from orchestrator.errors import InvalidRequest, Refused, TooLarge, TooSlow, Unsupported
from orchestrator.settings import MIB, Settings

UPLOADS: Final = "/v1/files"
FORM_BYTES: Final = 64 * 1024
"""What a form may hold around its file."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may take."""

    json_bytes: int
    upload_bytes: int
    json_depth: int
    piece_within_s: float = 20.0
    """The longest silence in the middle of a body."""
    patience_s: float = 20.0
    """So long may be waited in all before `bytes_per_s` is asked for."""
    bytes_per_s: int = 4_096

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The bounds that the settings name."""
        return cls(settings.max_request_bytes, settings.max_file_bytes, settings.max_json_depth)

    def bytes_for(self, path: str) -> int:
        """The most bytes that a request to a path may have."""
        return self.upload_bytes + FORM_BYTES if path == UPLOADS else self.json_bytes


class LimitBody:
    """ASGI middleware: refuses a body by its declared length, and counts and times the one that comes."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._bounds.bytes_for(scope["path"])
        try:
            _check_address(scope)
            _check_head(dict(scope["headers"]), most)
        except Refused as error:
            await of_error(error)(scope, receive, send)
            return
        await self._app(scope, _Counted(receive, most, self._bounds), send)


class _Counted:
    """A `receive` that raises TooLarge or TooSlow while the body comes; afterwards it only waits for the hang-up."""

    def __init__(self, receive: Receive, most: int, bounds: Bounds) -> None:
        self._receive, self._most, self._bounds = receive, most, bounds
        self._received = 0
        self._waited_s = 0.0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._bounds.piece_within_s):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] != "http.request":
            return message
        self._waited_s += time.monotonic() - began
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._received > self._most:
            raise too_large(self._most)
        late = self._waited_s > self._bounds.patience_s
        if late and not self._whole and self._received < self._waited_s * self._bounds.bytes_per_s:
            raise _too_slow()
        return message


def _check_address(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise InvalidRequest("The address holds a NUL character, which no name has. Remove it.")


def _check_head(headers: dict[bytes, bytes], most: int) -> None:
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.strip().lower() not in (b"", b"identity"):
        raise Unsupported("Compressed bodies are not read. Send the request without Content-Encoding.")
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit():
        raise InvalidRequest("Content-Length must be a number.")
    if len(declared) > 18 or int(declared) > most:
        raise too_large(most)


def _too_slow() -> TooSlow:
    return TooSlow("The body came too slowly. Send it again, in one go.")


def too_large(most: int) -> TooLarge:
    """What is said of a body over a limit of so many bytes."""
    told = f"{most // MIB} MiB" if most >= MIB else f"{most} bytes"
    return TooLarge(
        f"The request is larger than {told}. Split it, or raise RIGHTSIZE_MAX_REQUEST_BYTES or RIGHTSIZE_MAX_FILE_BYTES."
    )
