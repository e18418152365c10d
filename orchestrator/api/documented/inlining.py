"""The JSON Schema of a pydantic model in one piece, as a route's body stands in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def inlined(kind: type[BaseModel]) -> dict[str, Any]:
    """A schema without references, since it stands alone inside a route."""
    schema = kind.model_json_schema()
    parts = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolved(parts[node["$ref"].rpartition("/")[2]])
            return {key: resolved(value) for key, value in node.items()}
        return [resolved(item) for item in node] if isinstance(node, list) else node

    whole: dict[str, Any] = resolved(schema)
    return whole
