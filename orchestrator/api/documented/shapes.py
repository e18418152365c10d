"""What the answers' shapes are put together from."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

USD: Final = r"^-?\d+(\.\d+)?$"


def id_pattern(kind: str) -> str:
    """What an id of a kind looks like."""
    return rf"^{kind}_[0-9a-f]{{32}}$"


Stamp = Annotated[int, Field(ge=0, description="Unix seconds.")]
Usd = Annotated[str, Field(pattern=USD, description="US dollars as text, so that no digit is lost.")]
Count = Annotated[int, Field(ge=0)]
Tier = Literal["slm", "llm", "rlm", "mllm"]
BatchId = Annotated[str, Field(pattern=id_pattern("batch"))]
FileId = Annotated[str, Field(pattern=id_pattern("file"))]
JobId = Annotated[str, Field(pattern=id_pattern("job"))]
KeyId = Annotated[str, Field(pattern=id_pattern("key"))]
ProjectId = Annotated[str, Field(pattern=id_pattern("proj"))]
ResponseId = Annotated[str, Field(pattern=id_pattern("resp"))]
ReviewId = Annotated[str, Field(pattern=id_pattern("review"))]
TenantId = Annotated[str, Field(pattern=id_pattern("tenant"))]
EndpointId = Annotated[str, Field(pattern=id_pattern("we"))]
DeliveryId = Annotated[str, Field(pattern=id_pattern("msg"))]


class Told(BaseModel):
    """An object of an answer: each of its fields is always there, and fields may be added to it."""


class Open(Told):
    """An object to which an engine may add fields of its own."""

    model_config = ConfigDict(extra="allow")


class Listed(Told):
    """A whole list."""

    object: Literal["list"]


class Page(Listed):
    """One page of a list, as the official clients page through it: `after` of the next one is this one's `last_id`."""

    first_id: str | None
    last_id: str | None
    has_more: bool


class Note(Told):
    """Why a request went where it went, and what it cost: the `rightsize` object of an answer."""

    tier: Tier
    model: str
    rule: str
    reasons: list[str]
    attempts: int = Field(ge=1)
    cost_usd: Usd
    simulated: bool = Field(description="Whether no model ran: the answer was made up.")
