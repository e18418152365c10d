"""The protocol that every engine fulfils, and that one conformance suite checks (`tests/workers/engines/`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request as an engine gets it."""

    job_id: str
    """The public id; `abort` names it."""
    endpoint: str
    """One of `orchestrator.requests.ENDPOINTS`."""
    body: dict[str, Any]
    """The OpenAI body without our own hints. The engine puts the served model's name in."""
    task: str | None
    seconds_left: float
    """Until the job's deadline; the engine stops the request by then."""
    interactive: bool = False
    """Whether somebody waits for the answer: it comes before bulk work."""
    thinking_tokens: int | None = None
    """The most tokens of thought, where the caller names a number."""
    audio_seconds: Decimal = Decimal(0)
    """How long the sound in its messages is."""
    adapter: str | None = None
    """The LoRA adapter that the model answers with, by its name in the fleet."""
    specialist: str | None = None
    """The version of the task's specialist that is to answer; the current one where nothing is said."""

    def with_body(self, body: dict[str, Any]) -> EngineRequest:
        """The same request with another body."""
        return replace(self, body=body)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a streamed answer. All pieces joined are the answer that the last chunk carries."""

    choices: Sequence[dict[str, Any]]
    """What is new, in OpenAI's form of a streamed event (`workers.engines.assembly`); the last chunk may hold nothing new."""
    usage: Usage | None = None
    """All that was consumed so far, exactly; None where the engine does not know."""
    answer: Answer | None = None
    """In the last chunk, and only there."""
    model_revision: str = ""
    """Whose answer it is, as the Answer will say."""
    simulated: bool = False

    @property
    def delta(self) -> str:
        """What is new in the text of the first choice."""
        for row in self.choices:
            if row["index"] == 0:
                return str(row.get("text") or (row.get("delta") or {}).get("content") or "")
        return ""


@dataclass(frozen=True, slots=True)
class Cache:
    """An engine's key-value cache: what requests hold of it grows with every token that they read and write."""

    tokens: int
    """That it holds."""
    block: int
    """Tokens of one block: a request takes whole ones."""
    count: Callable[[str], int]
    """How many tokens a text has for the engine's model."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine can take at once, as it reports it."""

    slots: int
    max_input_tokens: int
    max_output_tokens: int
    streams: bool
    endpoints: frozenset[str]
    images: bool = False
    audio: bool = False
    structured: bool = False
    """Whether it holds an answer to a JSON schema, a choice, a regex or a grammar while it writes it."""
    seeds: bool = True
    """Whether a `seed` is honoured; a request that asks for one is refused otherwise."""
    context: int | None = None
    """Tokens of one request, prompt and answer together, where the engine knows."""
    queues: bool = False
    """Whether it takes more than its slots and keeps the rest in order, telling how many wait."""
    cache: Cache | None = None
    """None where it has none, or one of another kind."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine says of itself just now: the worker keeps as much work outstanding as it can run."""

    running: int
    """Requests that take part in its steps."""
    waiting: int
    """Requests that it holds and does not run yet."""
    kv_use: float
    """The share of its key-value cache that is taken, from 0 to 1."""
    preemptions: int
    """Requests that it had to interrupt for want of memory, since it was loaded."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an engine can serve, and a sentence about it."""

    ready: bool
    detail: str


def bad_request(message: str, code: str = "bad_request") -> EngineFault:
    """The fault of a request that no other attempt can cure."""
    return EngineFault(message, code=code, retryable=False, http_status=400)


class Engine(Protocol):
    """Runs requests on one model. Its coroutines all run on the worker's one loop; nothing in them may block it.

    What a model or its server does wrong is raised as EngineFault with its class (retryable or not).
    Cancelling the coroutine of `perform` or `stream` aborts the request as well.
    """

    async def load(self) -> None:
        """Make the model ready; raises EngineFault or InvalidConfig that says why it cannot be."""

    async def perform(self, request: EngineRequest) -> Answer:
        """Run one request to its answer: an OpenAI response body with exact usage."""

    def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Run one request and yield its pieces as they come; the last carries the Answer. Closing it stops the request.

        Several choices, calls of functions, log probabilities and completions come piece by piece where the engine can, else whole
        in one piece. What is only read (embeddings and their like) has no pieces.
        """

    async def abort(self, job_id: str) -> None:
        """Stop a request that is running; unknown ids are ignored."""

    def limits(self) -> EngineLimits:
        """What the engine can take; valid after `load`."""

    def load_now(self) -> Load | None:
        """What it runs now, for an engine that can tell; None for one that cannot, or whose report is out of date."""

    async def health(self) -> Health:
        """Whether the engine can serve now."""

    async def close(self) -> None:
        """Let go of everything; requests that still run are aborted."""


__all__ = ["Answer", "Chunk", "Engine", "EngineLimits", "EngineRequest", "Health", "Load", "Usage", "bad_request"]
