"""The kinds of answers that routes give, each with what they may refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import BaseModel

from orchestrator.api.documented.failed import JOB, RATES, headers, name_of

KEYED: Final = (400, 401, 403, 500, 503)
"""What every route that wants a key may answer."""
WITH_BODY: Final = (408, 413, 415)
WAITED: Final = (402, 404, 409, 422, 429, 499, 502, 504)
"""What may come of a request that its caller waits for."""
SCHEMAS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Link:
    """What can be done next with what came back."""

    operation: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What one operation answers."""

    models: tuple[type[BaseModel], ...] = ()
    """Of the bodies that may come."""
    refused: tuple[int, ...] = ()
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    """Further statuses that hold a good answer of the same form."""
    links: Mapping[str, Link] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    """Headers of requests, beside the key."""

    def linked(self, **links: Link) -> Described:
        """The same with links."""
        return replace(self, links=links)

    def responses(self) -> dict[str, Any]:
        """The responses as OpenAPI has them."""
        content = {kind: {"schema": self._schema(kind)} for kind in self.media}
        links = {name: _as_link(link) for name, link in self.links.items()}
        good = {
            "description": "Done." if self.status != 202 else "Accepted.",
            "headers": headers(*self.headers), "content": content, **({"links": links} if links else {}),
        }  # fmt: skip
        refused = {
            str(status): {"$ref": f"#/components/responses/{name_of(status)}"} for status in sorted(set(self.refused))
        }
        return {**{str(status): good for status in (self.status, *self.also)}, **refused}

    def _schema(self, kind: str) -> dict[str, Any]:
        if kind != "application/json" or not self.models:
            return {"type": "string"}
        refs = [{"$ref": SCHEMAS + model.__name__} for model in self.models]
        return refs[0] if len(refs) == 1 else {"anyOf": refs}


def _as_link(link: Link) -> dict[str, Any]:
    body = {} if link.body is None else {"requestBody": dict(link.body)}
    parameters = {} if not link.parameters else {"parameters": dict(link.parameters)}
    return {"operationId": link.operation, **parameters, **body}


def shown(model: type[BaseModel], *refused: int) -> Described:
    """Something that is read."""
    return Described((model,), (*KEYED, *refused))


def done(model: type[BaseModel], *refused: int, status: int = 200) -> Described:
    """Something that is done, without a body."""
    return Described((model,), (*KEYED, *refused), status)


def taken(model: type[BaseModel], *refused: int, status: int = 200, once: bool = False) -> Described:
    """Something that is done with a body; with `once`, an Idempotency-Key makes sure that it is done once."""
    takes = ("Idempotency-Key",) if once else ()
    return Described((model,), (*KEYED, *WITH_BODY, *refused), status, takes=takes)


def waited(model: type[BaseModel], *, streams: bool = False) -> Described:
    """A request to a model, whose answer is waited for; with `streams`, server-sent events where they are asked for."""
    media = ("application/json", "text/event-stream") if streams else ("application/json",)
    refused = (*KEYED, *WITH_BODY, *WAITED)
    return Described((model,), refused, media=media, headers=(JOB, *RATES), takes=("Idempotency-Key",))


def followed(*refused: int) -> Described:
    """Server-sent events."""
    return Described((), (*KEYED, *refused), media=("text/event-stream",))


def fetched(*refused: int) -> Described:
    """Bytes, whole or one range of them."""
    return Described((), (*KEYED, *refused), media=("application/octet-stream",), also=(206,), takes=("Range",))


def open_to_all(
    model: type[BaseModel] | None, *, media: str = "application/json", also: tuple[int, ...] = ()
) -> Described:
    """Something that asks for no key."""
    return Described((model,) if model else (), (500,), media=(media,), also=also)
