"""The bodies of requests to models and of uploads, as the document shows them: every field that is taken, with its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.api.documented.fields import APART, COMMON, NEEDED, OF_RESPONSES, Schema
from orchestrator.fields import ALLOWED, PAIRED
from orchestrator.requests import RESPONSES, SCORE
from orchestrator.responses.fields import FIELDS, NOT_SERVED

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "/v1/chat/completions": {"model": "auto", "messages": [{"role": "user", "content": "Where is my order?"}]},
    "/v1/completions": {"model": "auto", "prompt": "Once upon a time"},
    "/v1/embeddings": {"model": "auto", "input": ["Where is my order?", "Thanks."]},
    "/v1/classify": {"model": "auto", "input": ["Where is my order?"]},
    "/v1/score": {"model": "auto", "queries": "Where is my order?", "documents": ["It is on its way.", "We are closed."]},
    RESPONSES: {"model": "auto", "input": "Where is my order?"},
}  # fmt: skip


def body_of_endpoint(endpoint: str) -> dict[str, Any]:
    """What OpenAPI says of the body of a request to a model."""
    return _body("application/json", schema_of(endpoint), EXAMPLES[endpoint])


def schema_of(endpoint: str) -> Schema:
    """The schema of a body: only what is known is taken."""
    if endpoint == RESPONSES:
        fields = {name: {**OF_RESPONSES[name], "description": FIELDS[name]} for name in sorted(FIELDS)}
        # What clients know and is not served is let pass where it is empty.
        fields |= {name: {"enum": [None, False], "description": told} for name, told in sorted(NOT_SERVED.items())}
        return _closed(fields, ("input",))
    known = {**COMMON, **APART.get(endpoint, {})}
    schema = _closed({name: known[name] for name in sorted({*ALLOWED[endpoint], "rightsize"})}, NEEDED[endpoint])
    return {**schema, "oneOf": [_sides(*pair) for pair in PAIRED]} if endpoint == SCORE else schema


def upload() -> dict[str, Any]:
    """What OpenAPI says of an upload."""
    seconds = {"type": "integer", "minimum": 3_600, "maximum": 2_592_000}
    fields = {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "purpose": {"enum": ["batch", "user_data"]},
        "expires_after[anchor]": {"const": "created_at", "description": "With `expires_after[seconds]` beside it."},
        "expires_after[seconds]": {**seconds, "description": "The file expires so long after it was made."},
    }
    together = {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    }
    schema = {"type": "object", "required": ["purpose", "file"], "properties": fields, "dependentRequired": together}
    return _body("multipart/form-data", schema, None)


def _sides(first: str, second: str) -> Schema:
    """A score has both sides under one pair of names, and nothing under any other."""
    others = {name for pair in PAIRED for name in pair} - {first, second}
    return {"required": [first, second], "properties": dict.fromkeys(sorted(others), False)}


def _closed(fields: Mapping[str, Schema], needed: tuple[str, ...]) -> Schema:
    return {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}


def _body(kind: str, schema: Schema, example: Mapping[str, Any] | None) -> dict[str, Any]:
    shown = {} if example is None else {"example": example}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema, **shown}}}}
