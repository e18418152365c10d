"""Reading a request's JSON, and writing an answer's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from orchestrator.api.serving import serving_of
from orchestrator.errors import InvalidRequest, Unsupported
from orchestrator.incoming import checked, json_object

__all__ = ["answer", "checked", "idempotency_key", "read_object"]

_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


async def read_object(request: Request, *, empty: bool = False) -> dict[str, Any]:
    """The JSON object that a request holds, within every bound; with `empty`, no body is an object without fields.

    Raises InvalidRequest with the remedy.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Unsupported(f"The body is {kind[:80]!r}. Send JSON with Content-Type: application/json.")
    raw = await request.body()
    return {} if empty and not raw else json_object(raw, serving_of(request).bounds.json_depth)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header; raises InvalidRequest for one that cannot be kept."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest("`Idempotency-Key` must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. Nothing that the API answers may be kept by caches on the way."""
    kept_out = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(value), status_code=status, headers=kept_out, media_type="application/json")
