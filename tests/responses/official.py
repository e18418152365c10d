"""Responses and events held against the types of the official client, strictly: no field missing, of another kind, or unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openai import BaseModel
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

OWN = {"store"}
"""Fields of a response that OpenAI's own answers have and the client's types lack; ours begin with `rightsize`."""
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def as_response(value: dict[str, Any]) -> Response:
    """The response as the client reads it."""
    read = Response.model_validate(value, strict=True)
    assert list(_unknown(read)) == []
    return read


def as_event(value: dict[str, Any]) -> Any:
    """The event as the client reads it."""
    read = _EVENT.validate_python(value, strict=True)
    assert list(_unknown(read)) == []
    return read


def _unknown(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in value.model_extra or ():
            if not (isinstance(value, Response) and (name in OWN or name.startswith("rightsize"))):
                yield f"{type(value).__name__}.{name}"
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            yield from _unknown(one)
