"""The kinds of answers that routes give, each with what they may refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import BaseModel

from orchestrator.api.documented.failed import JOB, RATES, Failure, headers, name_of

KEYED: Final = (400, 401, 403, 500, 503)
"""What every route that wants a key may answer."""
WITH_BODY: Final = (408, 413, 415)
WAITED: Final = (402, 404, 409, 422, 429, 499, 502, 504)
"""What may come of a request that its caller waits for."""
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
SCHEMAS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Link:
    """What can be done next with what came back."""

    operation: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str | bool] | None = None

    def shown(self) -> dict[str, Any]:
        """The link as OpenAPI has it."""
        parameters = {"parameters": dict(self.parameters)} if self.parameters else {}
        body = {} if self.body is None else {"requestBody": dict(self.body)}
        return {"operationId": self.operation, **parameters, **body}


@dataclass(frozen=True, slots=True)
class Described:
    """What one operation answers."""

    model: type[BaseModel] | None = None
    """Of its body."""
    event: type[BaseModel] | None = None
    """Of what each server-sent event has for its data, as JSON."""
    refused: tuple[int, ...] = ()
    status: int = 200
    media: tuple[str, ...] = (JSON,)
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
        good: dict[str, Any] = {
            "description": "Accepted." if self.status == 202 else "Done.",
            "headers": headers(*self.headers),
            "content": {kind: {"schema": self._schema(kind)} for kind in self.media},
        }
        if self.links:
            good["links"] = {name: link.shown() for name, link in self.links.items()}
        refused = {
            str(status): {"$ref": f"#/components/responses/{name_of(status)}"} for status in sorted(set(self.refused))
        }
        return {**{str(status): good for status in (self.status, *self.also)}, **refused}

    def _schema(self, kind: str) -> dict[str, Any]:
        if kind == EVENTS and self.event is not None:
            return _event(self.event)
        if kind != JSON or self.model is None:
            return {"type": "string"}
        return reference(self.model)


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """Where a model stands in the document."""
    return {"$ref": SCHEMAS + model.__name__}


def _event(model: type[BaseModel]) -> dict[str, Any]:
    """One event of a stream: an object as JSON, an error in its place, or the mark of the end."""
    told = {"anyOf": [reference(model), reference(Failure)]}
    data = {"anyOf": [{"const": "[DONE]"}, {"type": "string", "contentMediaType": JSON, "contentSchema": told}]}
    named = {"event": {"type": "string"}, "id": {"type": "string"}}
    return {"type": "object", "required": ["data"], "properties": {**named, "data": data}}


def shown(model: type[BaseModel], *refused: int) -> Described:
    """Something that is read."""
    return Described(model, refused=(*KEYED, *refused))


def done(model: type[BaseModel], *refused: int) -> Described:
    """Something that is done, without a body."""
    return Described(model, refused=(*KEYED, *refused))


def taken(model: type[BaseModel], *refused: int, status: int = 200, once: bool = False) -> Described:
    """Something that is done with a body; with `once`, an Idempotency-Key makes sure that it is done once."""
    takes = ("Idempotency-Key",) if once else ()
    return Described(model, refused=(*KEYED, *WITH_BODY, *refused), status=status, takes=takes)


def waited(model: type[BaseModel], event: type[BaseModel] | None = None) -> Described:
    """A request to a model, whose answer is waited for; server-sent events where it has some and they are asked for."""
    media = (JSON,) if event is None else (JSON, EVENTS)
    refused = (*KEYED, *WITH_BODY, *WAITED)
    return Described(model, event, refused, media=media, headers=(JOB, *RATES), takes=("Idempotency-Key",))


def followed(event: type[BaseModel], *refused: int) -> Described:
    """Server-sent events."""
    return Described(event=event, refused=(*KEYED, *refused), media=(EVENTS,))


def fetched(*refused: int) -> Described:
    """Bytes, whole or one range of them."""
    media = ("application/octet-stream",)
    return Described(refused=(*KEYED, *refused), media=media, also=(206,), takes=("Range",))


def unguarded(model: type[BaseModel] | None, *, media: str = JSON, also: tuple[int, ...] = ()) -> Described:
    """Something that asks for no key."""
    return Described(model, refused=(500,), media=(media,), also=also)
