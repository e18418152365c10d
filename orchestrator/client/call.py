"""One call of the service, as a value: what is sent, and whether sending it twice does no harm. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import orjson

from orchestrator.client.address import checked_name
from orchestrator.errors import InvalidRequest

Thing = dict[str, Any]
"""A JSON object as the API gave it."""

CHAT: Final = "/v1/chat/completions"
ANSWER_WITHIN_S: Final = 660.0
"""How long an answer is waited for: the service itself waits for 600 s, and then says so."""
NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the service."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    """What is None is left out."""
    key: str | None = None
    """An idempotency key."""
    again: bool = False
    """Whether a second sending does no harm: a GET, or a POST with an idempotency key."""
    within_s: float | None = None
    """How long the service may be silent; None for the client's own."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The call as httpx2 takes it, but for its timeout; raises InvalidRequest for what cannot be sent."""
        headers = dict(self.headers)
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Idempotency-Key"] = checked_name(self.key)
        wanted = {name: value for name, value in self.query.items() if value is not None}
        content = None if self.body is None else content_of(self.body)
        return {"method": self.method, "url": self.path, "content": content, "params": wanted, "headers": headers}


def get(path: str, query: Mapping[str, Any] = NOTHING, *, within_s: float | None = None) -> Call:
    """A call that reads: it may be sent again."""
    return Call("GET", path, query=query, again=True, within_s=within_s)


def path_of(kind: str, thing: str, *more: str) -> str:
    """The path of a thing; whatever an id holds, it stays one part of it."""
    return "/".join(["/v1", kind, quote(thing, safe="", errors="replace"), *more])


def content_of(body: Mapping[str, Any]) -> bytes:
    """A body as JSON; raises InvalidRequest for one that cannot be."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"The request cannot be sent as JSON ({error}): give text that is valid Unicode, and plain values."
        ) from error
