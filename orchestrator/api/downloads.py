"""Downloads: a blob's bytes as an answer, whole or the one range that was asked for, streamed from wherever it lies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import anyio
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.api.failures import failure
from orchestrator.api.serving import Serving, serving_of

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")


async def download(request: Request, key: str, filename: str) -> Response:
    """A blob as an attachment: 200, 206 for a Range within it, or 416 for one beyond it. Raises NotFound if it is gone.

    The blob's size is looked up first. No more than two of its pieces, a MiB, stand in memory for a request.
    """
    serving = serving_of(request)
    size = await serving.write(serving.context.blobs.size, key)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "Content-Disposition": _disposition(filename),
        "X-Content-Type-Options": "nosniff",
    }
    # We send no validator, so that none which comes with a request can be ours: then all of the blob is sent.
    asked = None if "if-range" in request.headers else asked_range(request.headers.get("range"), size)
    start, end = asked or (0, size)
    if asked is not None:
        if start >= end:
            message = f"The file has {size} bytes, and the Range asks for none of them. Ask for one within it."
            return failure(416, message, code="range_not_satisfiable", headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        _sent(serving, key, start, end),
        status_code=200 if asked is None else 206,
        headers={**headers, "Content-Length": str(end - start)},
        media_type="application/octet-stream",
    )


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """From which byte to before which one a Range asks for; an empty range if the blob has none of them.

    None where all of the blob is to be sent: no Range, and one that is not served, such as several ranges at once, another unit,
    or what is no range at all (RFC 9110, 14.2).
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


async def _sent(serving: Serving, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    """The pieces, each fetched on a thread that holds no connection to the database, once the one before is on its way."""
    pieces = serving.context.blobs.pieces(key, start, end)
    try:
        while piece := await serving.write(lambda: next(pieces, b"")):
            yield piece
    finally:
        with anyio.CancelScope(shield=True):
            await serving.write(pieces.close)


def _disposition(filename: str) -> str:
    if _PLAIN.fullmatch(filename):
        return f'attachment; filename="{filename}"'
    return f"attachment; filename*=utf-8''{quote(filename, safe='')}"
