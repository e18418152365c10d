"""The bodies that the API takes, checked by pydantic where they are ours and described for OpenAPI where they are the model's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Exact(BaseModel):
    """Refuses fields that it does not know, and takes no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Expiry(Exact):
    """When an output file expires. Accepted for OpenAI's sake; files stay for the installation's retention."""

    anchor: str = Field(pattern="^created_at$")
    seconds: int = Field(ge=3_600, le=2_592_000)


class CreateBatch(Exact):
    """A batch to be made of an uploaded file."""

    input_file_id: str = Field(max_length=128)
    endpoint: str = Field(max_length=128)
    completion_window: str = Field(default="24h", max_length=16)
    metadata: Metadata | None = None
    output_expires_after: Expiry | None = None
    rightsize: dict[str, Any] | None = None
    """Hints for every row, `max_cost_usd` for the whole batch, and `on_invalid_row`: fail or report."""


class CreateJob(Exact):
    """One request to be answered later."""

    endpoint: str = Field(default="/v1/chat/completions", max_length=128)
    body: dict[str, Any]
    deadline: str = Field(default="24h", max_length=16)
    """Such as 24h, 90m or 30s, at most 30 days."""


class Explain(Exact):
    """A request whose route is asked for; nothing is run."""

    endpoint: str = Field(default="/v1/chat/completions", max_length=128)
    body: dict[str, Any]


class ModelRequest(BaseModel):
    """What every request to a model may hold beside its input; unknown fields are refused by the routing step."""

    model: str = "auto"
    rightsize: dict[str, Any] | None = None


class ChatRequest(ModelRequest):
    """OpenAI's chat request."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    temperature: float | None = None


class CompletionRequest(ModelRequest):
    """OpenAI's completion request."""

    prompt: str | list[str]
    max_tokens: int | None = None


class EmbeddingRequest(ModelRequest):
    """OpenAI's embedding request."""

    input: str | list[str]


class ClassifyRequest(ModelRequest):
    """A classification as `vllm serve` takes it."""

    input: str | list[str]
    use_activation: bool | None = None


class ScoreRequest(ModelRequest):
    """A score as `vllm serve` takes it: one query against each document, or each query against its own."""

    queries: str | list[str]
    documents: str | list[str]
    use_activation: bool | None = None


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a JSON body that a route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(kind)}}}}


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


UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": ["batch", "user_data"]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
"""What OpenAPI says of an upload."""
