"""The bodies that the API takes, checked by pydantic where they are ours and described for OpenAPI where they are the model's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Exact(BaseModel):
    """Refuses fields that it does not know, and takes no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Expiry(Exact):
    """When a file expires, counted from its making."""

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


class EstimateBatch(Exact):
    """A batch that would be made of an uploaded file."""

    input_file_id: str = Field(max_length=128)
    endpoint: str = Field(default="/v1/chat/completions", max_length=128)
    rightsize: dict[str, Any] | None = None
    completion_window: str | None = Field(default=None, max_length=16)
    metadata: Metadata | None = None


class ResumeBatch(Exact):
    """How a batch is to go on."""

    max_cost_usd: str | None = Field(default=None, max_length=32)


class RetryBatch(Exact):
    """Which failed rows of a batch are to run again, and where."""

    tier: str = Field(default="up", max_length=16)
    """`up`, or the name of a tier."""
    only: str | None = Field(default=None, max_length=64)
    """Only rows that failed with this code."""
    completion_window: str = Field(default="24h", max_length=16)


class CreateJob(Exact):
    """One request to be answered later."""

    endpoint: str = Field(default="/v1/chat/completions", max_length=128)
    body: dict[str, Any]
    deadline: str = Field(default="24h", max_length=16)
    """Such as 24h, 90m or 30s, at most 30 days."""


Weight = Annotated[int, Field(ge=1, le=1_000)]
Days = Annotated[int, Field(ge=1, le=3_650)]
Named = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Money = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class CreateTenant(Exact):
    """A tenant to be made."""

    name: str = Field(min_length=1, max_length=63)
    weight: Weight = 1
    """Its share of the fleet beside those of the others."""
    retention_days: Days | None = None


class ChangeTenant(Exact):
    """What is to change of a tenant."""

    weight: Weight | None = None
    retention_days: Days | None = None
    disabled: bool | None = None


class CreateProject(Exact):
    """A project to be made."""

    name: str = Field(min_length=1, max_length=63)
    weight: Weight = 1


class ChangeProject(Exact):
    """What is to change of a project."""

    weight: Weight | None = None
    disabled: bool | None = None


class CreateKey(Exact):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=100)
    project: Named = "default"
    scopes: list[Literal["submit", "read", "admin"]] = Field(default=["submit", "read"], min_length=1, max_length=3)
    expires_in: str | None = Field(default=None, max_length=16)
    """Such as 90d or 12h; for good if nothing is said."""


class RotateKey(Exact):
    """How a key is to be replaced."""

    grace: str | None = Field(default=None, max_length=16)
    """How long the old one lasts, such as 24h; it ends at once if nothing is said."""


class SetBudget(Exact):
    """A limit to be set."""

    scope: Literal["tenant", "project", "key"] = "project"
    named: Named | None = None
    """The project's or key's name or id."""
    period: Literal["day", "month", "total"] = "total"
    limit_usd: Money | None
    """US dollars as text, so that no digit is lost; null takes the limit away."""


class SetQuota(Exact):
    """The quotas of one scope."""

    scope: Literal["tenant", "project", "key"] = "project"
    named: Named | None = None
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)
    jobs_queued: int | None = Field(default=None, ge=1, le=10**12)
    jobs_in_flight: int | None = Field(default=None, ge=1, le=10**9)
    file_bytes: int | None = Field(default=None, ge=1, le=10**15)


EventTypes = Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(min_length=1, max_length=32)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=2_048)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class CreateWebhook(Exact):
    """An endpoint to be told of events."""

    name: Label
    url: Address
    event_types: EventTypes


class ChangeWebhook(Exact):
    """What is to change of an endpoint; `event_types` is the whole new set."""

    name: Label | None = None
    url: Address | None = None
    event_types: EventTypes | None = None


class RotateSecret(Exact):
    """How a secret is to be replaced."""

    keep_old_secret_active_for_24_hours: bool = False


class TestWebhook(Exact):
    """The event of which a sample is to be sent."""

    event_type: str = Field(max_length=64)


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


class ResponseRequest(ModelRequest):
    """OpenAI's response request; `docs/openai.md` lists its fields."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None


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


def body_of(kind: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a JSON body that a route reads by itself."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": inlined(kind)}}}}


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
