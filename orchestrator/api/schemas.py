"""The bodies that the API takes where they are ours, checked by pydantic. Those of models stand in `documented/asked.py`.

What pydantic lets through and a later step refuses is described too (`described`), so that the document tells all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from orchestrator.api.documented import patterns
from orchestrator.api.documented.fields import BATCH_HINTS
from orchestrator.api.documented.inlining import inlined
from orchestrator.contracts import Tier
from orchestrator.hints import TASK_NAME
from orchestrator.requests import ACCEPTED, ENDPOINTS
from orchestrator.tasks.definition import Task
from orchestrator.webhooks.events import EventType


def described(**schema: Any) -> Any:
    """What the document says of a field beyond what pydantic checks."""
    return Field(json_schema_extra=schema)


def one_of(values: Iterable[str]) -> Any:
    """A field that may hold one of some texts, as a later step checks."""
    return described(enum=sorted(values))


Window = Annotated[str, StringConstraints(max_length=16), described(pattern=patterns.window())]
"""Such as 24h, 90m or 30s, at most 30 days."""
Accepted = Annotated[str, StringConstraints(max_length=128), one_of(ACCEPTED)]
Amount = Annotated[str, StringConstraints(min_length=1, max_length=32), described(pattern=patterns.MONEY)]
"""US dollars as text, so that no digit is lost."""
BatchHints = Annotated[dict[str, Any] | None, WithJsonSchema(dict(BATCH_HINTS))]


def _integral(value: object) -> object:
    """A whole number as JSON may write it: 5.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL: Final = BeforeValidator(_integral)
RequestBody = Annotated[
    dict[str, Any],
    described(examples=[{"model": "auto", "messages": [{"role": "user", "content": "Where is my order?"}]}]),
]
"""What the endpoint takes."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


def _plain_metadata(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """Check metadata, and say what is wrong with them in words of our own."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError("must be at most 16 texts of at most 512 characters, with names of 1 to 64") from None


Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16), WrapValidator(_plain_metadata)]
LEAST_EXPIRY_S: Final = 3_600
MOST_EXPIRY_S: Final = 2_592_000


class Exact(BaseModel):
    """Refuses fields that it does not know, and takes no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Expiry(Exact):
    """When a file expires, counted from its making."""

    anchor: str = Field(pattern="^created_at$")
    seconds: Annotated[int, Field(ge=LEAST_EXPIRY_S, le=MOST_EXPIRY_S), INTEGRAL]


class CreateBatch(Exact):
    """A batch to be made of an uploaded file."""

    input_file_id: str = Field(max_length=128)
    endpoint: Accepted
    completion_window: Window = "24h"
    metadata: Metadata | None = None
    output_expires_after: Expiry | None = None
    rightsize: BatchHints = None
    """Hints for every row, `max_cost_usd` for the whole batch, and `on_invalid_row`: fail or report."""


class EstimateBatch(Exact):
    """A batch that would be made of an uploaded file."""

    input_file_id: str = Field(max_length=128)
    endpoint: Accepted = "/v1/chat/completions"
    rightsize: BatchHints = None
    completion_window: str | None = Field(default=None, max_length=16)
    metadata: Metadata | None = None


class ResumeBatch(Exact):
    """How a batch is to go on."""

    max_cost_usd: Amount | None = None


class RetryBatch(Exact):
    """Which failed rows of a batch are to run again, and where."""

    tier: Annotated[str, StringConstraints(max_length=16), one_of(("up", *Tier))] = "up"
    """`up`, or the name of a tier."""
    only: str | None = Field(default=None, max_length=64)
    """Only rows that failed with this code."""
    completion_window: Window = "24h"


class DefineTask(Exact):
    """A task, or another version of one."""

    definition: Annotated[dict[str, Any], WithJsonSchema(inlined(Task))]
    """As a task's file has it: name, instructions, output_schema and so on."""


MOST_HASHES: Final = 10_000


class KnownDocuments(Exact):
    """Some documents and what a batch would do with them."""

    task: Annotated[str, StringConstraints(min_length=1, max_length=63), described(pattern=f"^{TASK_NAME.pattern}$")]
    task_version: Annotated[int, Field(ge=1, le=10**6), INTEGRAL] | None = None
    parameters: dict[str, Any] | None = None
    rightsize: BatchHints = None
    hashes: Annotated[list[Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]], Field(max_length=MOST_HASHES)]
    """SHA-256 of each document's bytes."""


class ForgetDocument(Exact):
    """A document to be forgotten."""

    hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of its bytes."""


# A better answer is given with `correct`, and with nothing else.
_ANSWERED: Final[dict[str, Any]] = {
    "oneOf": [
        {"properties": {"action": {"const": "correct"}}, "required": ["answer"]},
        {"properties": {"action": {"enum": ["confirm", "drop"]}, "answer": False}},
    ]
}


class DecideReview(Exact):
    """What a person says of an answer."""

    model_config = ConfigDict(json_schema_extra=_ANSWERED)

    action: Literal["correct", "confirm", "drop"]
    answer: Any = None
    """With `correct`: the whole answer, in the form of the task's schema."""
    force: bool = False
    """Whether it counts where somebody decided otherwise before."""


class CreateJob(Exact):
    """One request to be answered later."""

    endpoint: Accepted = "/v1/chat/completions"
    body: RequestBody
    deadline: Window = "24h"


MAX_LABEL_CHARS: Final = 1_000


class Feedback(Exact):
    """What a caller says of an answer."""

    good: bool
    """Whether it was right."""
    label: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL_CHARS)] | None = None
    """What the right one is."""


Weight = Annotated[int, Field(ge=1, le=1_000), INTEGRAL]
Days = Annotated[int, Field(ge=1, le=3_650), INTEGRAL]
Named = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Plain = Annotated[str, StringConstraints(min_length=1, max_length=63), described(pattern=patterns.NAME)]
"""The name of a tenant or project."""


class CreateTenant(Exact):
    """A tenant to be made."""

    name: Plain
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

    name: Plain
    weight: Weight = 1


class ChangeProject(Exact):
    """What is to change of a project."""

    weight: Weight | None = None
    disabled: bool | None = None


Lifetime = Annotated[str, StringConstraints(max_length=16), described(pattern=patterns.window(3_650))]
"""Of a key, at most ten years."""


class CreateKey(Exact):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=100)
    project: Named = "default"
    scopes: list[Literal["submit", "read", "admin"]] = Field(default=["submit", "read"], min_length=1, max_length=3)
    expires_in: Lifetime | None = None
    """Such as 90d or 12h; for good if nothing is said."""


class RotateKey(Exact):
    """How a key is to be replaced."""

    grace: Window | None = None
    """How long the old one lasts, such as 24h; it ends at once if nothing is said."""
    expires_in: Lifetime | None = None
    """How long the new one lasts, such as 90d; for as long as the old one was made for if nothing is said."""


# Only a tenant goes without a name: it is the one that the key is of, or that the query names.
_NAMED: Final[dict[str, Any]] = {
    "anyOf": [
        {"properties": {"scope": {"const": "tenant"}}, "required": ["scope"]},
        {"properties": {"named": {"type": "string"}}, "required": ["named"]},
    ]
}


class SetBudget(Exact):
    """A limit to be set."""

    model_config = ConfigDict(json_schema_extra=_NAMED)

    scope: Literal["tenant", "project", "key"] = "project"
    named: Named | None = None
    """The project's or key's name or id. A tenant needs none; another one than the key's is named by `?tenant=`."""
    period: Literal["day", "month", "total"] = "total"
    limit_usd: Amount | None
    """Null takes the limit away."""


Few = Annotated[int, Field(ge=1, le=10**9), INTEGRAL]
Many = Annotated[int, Field(ge=1, le=10**12), INTEGRAL]
Bytes = Annotated[int, Field(ge=1, le=10**15), INTEGRAL]


class SetQuota(Exact):
    """The quotas of one scope."""

    model_config = ConfigDict(json_schema_extra=_NAMED)

    scope: Literal["tenant", "project", "key"] = "project"
    named: Named | None = None
    requests_per_minute: Few | None = None
    tokens_per_minute: Many | None = None
    jobs_queued: Many | None = None
    jobs_in_flight: Few | None = None
    file_bytes: Bytes | None = None


Event = Annotated[str, StringConstraints(max_length=64), one_of(EventType)]
EventTypes = Annotated[list[Event], Field(min_length=1, max_length=32)]
Address = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2_048),
    described(pattern=patterns.WEB, examples=["https://hooks.example.com/rightsize"]),
]
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

    event_type: Event


class Explain(Exact):
    """A request whose route is asked for; nothing is run."""

    endpoint: Annotated[str, StringConstraints(max_length=128), one_of(ENDPOINTS)] = "/v1/chat/completions"
    body: RequestBody


def body_of(kind: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a JSON body that a route reads by itself."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": inlined(kind)}}}}
