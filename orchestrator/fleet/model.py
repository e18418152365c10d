"""One model of the fleet: which tier it serves, what talks to it, its limits, its prices. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from orchestrator.contracts import NAME, Endpoint, Tier
from orchestrator.media.picture import MAX_IMAGE_PIXELS
from orchestrator.pricing import RateCard, card_on

EngineName = Literal["simulated", "openai", "specialist", "vllm", "llamacpp"]


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _plain_url(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(
            "must be a plain URL such as http://127.0.0.1:8000/v1. "
            "A key belongs into the environment variable that api_key_env names."
        )
    return address.rstrip("/")


Url = Annotated[str, AfterValidator(_plain_url)]
Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
AdapterName = Annotated[str, Field(pattern=f"^{NAME}$")]
AdapterPath = Annotated[str, Field(min_length=1, max_length=4_096)]
Share = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
RESERVED: Final = frozenset({"auto", *Tier})
"""What `model` may say in a request besides a model's name."""


class Reasoning(Strict):
    """How a model deliberates: how its thoughts are told from its answer, and how many it may have."""

    parser: str | None = None
    """One of vLLM's reasoning parsers, such as `deepseek_r1` or `qwen3`; `begin` and `end` where none is named."""
    begin: str = Field(default="<think>", min_length=1, max_length=100)
    end: str = Field(default="</think>", min_length=1, max_length=100)
    opens: bool = False
    """Whether we write the beginning mark into the prompt, for a model that does not begin to think by itself.

    Needless where the model's own template writes it: that is seen at the start.
    """
    low_tokens: Count = 512
    medium_tokens: Count = 2_048
    high_tokens: Count = 8_192

    def tokens_for(self, effort: str | None) -> int:
        """The most thought that an effort (`low`, `medium` or `high`; medium where none is named) may take, in tokens."""
        return {"low": self.low_tokens, "high": self.high_tokens}.get(effort or "", self.medium_tokens)


class Weights(Strict):
    """What a token of each kind takes of a machine's time, against the others: an hour's bill is shared by them.

    Only how they stand to each other counts. The defaults are rules of thumb, for a model whose speed nobody measured: many
    input tokens are read in one step, an output token takes a step of its own, and a cached prefix is only looked up.
    """

    prefill: Share = 0.1
    cached: Share = 0.01
    decode: Share = 1.0

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not (self.prefill or self.cached or self.decode):
            raise ValueError("weighs nothing: give at least one of prefill, cached and decode a weight.")
        return self


class Model(Strict):
    """One deployment that serves a tier."""

    name: str = Field(pattern=f"^{NAME}$")
    tier: Tier
    engine: EngineName
    default: bool = False
    """Whether it serves the tier's plain queue; the first of a tier does where none is named so."""
    address: Url | None = None
    """Base URL of an OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`."""
    replicas: tuple[Url, ...] = Field(default=(), max_length=64)
    """Base URLs of further servers that serve the same model; requests are shared between all of them."""
    served_model: str | None = None
    """The name by which the server at `address` knows the model; ours where it is not given."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key. The key itself never stands in the file."""
    path: str | None = None
    """Where the weights are: a folder or file on the worker's machine or, for vLLM, the id of a model on a hub."""
    tasks: tuple[str, ...] = ()
    """The tasks this model serves; empty for any. A specialist serves the tasks it was trained for."""
    endpoints: tuple[Endpoint, ...] = ()
    """The endpoints it serves, such as `/v1/classify`; where none is named, its engine says so when it is asked.

    Embeddings, classification and scoring go to models that name them, as soon as one of the fleet does.
    """
    slots: Count = Field(default=16, le=4096)
    """How many requests it runs at once."""
    reserve: float = Field(default=0.1, ge=0, le=0.9, strict=True)
    """The share of the slots that bulk work never takes, so that interactive requests find one."""
    max_input_tokens: Count = 32_768
    max_image_pixels: Count = MAX_IMAGE_PIXELS
    """Pictures with more pixels are made smaller before the model gets them."""
    max_output_tokens: Count = 1_024
    """The output limit where a request names none: the hold on the budget is priced by it."""
    timeout_s: Seconds = 600.0
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds = 120.0
    expected_latency_s: float = Field(default=2.0, ge=0, strict=True, allow_inf_nan=False)
    """The median time of one request, for estimates and for the size of dispatches until it has been measured."""
    free: bool = False
    """Says that a card on which nothing costs anything is meant so."""
    rates: tuple[RateCard, ...] = ()
    hang_s: Seconds = 300.0
    """An engine of ours that takes no step for so long, with requests to run, is taken for dead."""
    tool_parser: str | None = None
    """One of vLLM's tool call parsers, such as `hermes`, for a model that calls tools."""
    weights: Weights = Weights()
    """How the bill of a machine that is priced by the hour is shared among the tokens that it served."""
    reasoning: Reasoning | None = None
    """Set for a model that deliberates before it answers."""
    adapters: Mapping[AdapterName, AdapterPath] = Field(default_factory=dict, max_length=256)
    """LoRA adapters of a model in vLLM, each by its name: a folder, or an id on a hub. Requests name them."""
    vllm: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of the vLLM engine, by the names that vLLM gives them: see `docs/models.md`."""
    llamacpp: Mapping[str, Any] = Field(default_factory=dict)
    """Options of the llama.cpp engine: see `workers/engines/_llamacpp/options.py`."""
    simulate: Mapping[str, Any] = Field(default_factory=dict)
    """Options of the simulated engine: see `workers/engines/_simulated/options.py`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.rates:
            raise ValueError(f"has no price: add a [[models.{self.name}.rates]] entry. An unpriced model is never $0.")
        if all(card.is_free for card in self.rates) and not self.free:
            raise ValueError("costs nothing on its rate card: set a price, or `free = true` if that is meant.")
        if any(card.hour and not card.prices_jobs for card in self.rates) and not self.free:
            raise ValueError(
                "is priced by the hour alone, so that a single job would cost $0: add prices of tokens or requests "
                f"(`rightsize models check {self.name} --write` measures them), or `free = true` if that is meant."
            )
        days = [card.valid_from for card in self.rates]
        if len(set(days)) < len(days):
            raise ValueError("has two entries of rates that begin on the same day: keep one.")
        if min(days) > datetime.now(UTC).date():
            raise ValueError("has no price today: every entry of its rates begins later. Add the one in force now.")
        if self.name in RESERVED:
            raise ValueError(f"may not be named {self.name}: in a request that means a tier. Give it another name.")
        return self

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Self:
        if self.engine == "openai" and not self.address:
            raise ValueError('needs `address`, such as "http://127.0.0.1:8000/v1", for engine "openai".')
        if self.engine in ("vllm", "llamacpp") and not self.path:
            raise ValueError(f'needs `path`, where its weights are, for engine "{self.engine}".')
        if self.replicas and self.engine != "openai":
            raise ValueError('has `replicas`, which only engine "openai" has: start more workers instead.')
        if self.adapters and self.engine != "vllm":
            raise ValueError(
                'has `adapters`, which only engine "vllm" loads: for a server give each an entry with its `served_model`.'
            )
        for table in ("vllm", "llamacpp", "simulate"):
            if getattr(self, table) and self.engine not in (table, table.replace("simulate", "simulated")):
                raise ValueError(f"has a table `{table}`, but its engine is {self.engine}. Remove one of the two.")
        return self

    def card_on(self, day: date) -> RateCard:
        """The rate card in force on a day (UTC)."""
        return card_on(self.rates, day, self.name)
