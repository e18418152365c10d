"""The words that every part of Rightsize shares: tiers, states, requests, outcomes, queue and task names.

A leaf: it imports nothing of the project, so that client, orchestrator and workers can all stand on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal

EXECUTE_TASK: Final = "rightsize.execute.v1"
"""The one Celery task of the bulk path; its only argument is `dispatch_id`."""

SUBMIT_TASK: Final = "rightsize.submit"
"""The Celery task by which other services hand in a job, from any Celery 5 producer that knows its name."""
RESULT_TASK: Final = "rightsize.result"
"""The Celery task by which they read what became of it."""
SUBMIT_QUEUE: Final = "rightsize.submit"
"""The Celery queue that both are sent to."""
OF_CELERY: Final = "celery:"
"""With the id of a Celery task behind it: the name of the job that it handed in, and its idempotency key."""

WAKE_KEY: Final = "rightsize.wake"
"""The Redis list that wakes the dispatcher: a hint, pushed after every flush and every submit."""


NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""A pattern: how the fleet names models and their adapters, and requests ask for them."""
WRONG_CONFIG_EXIT: Final = 78
"""The exit code of a service whose configuration is wrong (EX_CONFIG of sysexits.h): a new start would end the same way."""

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/classify", "/v1/score"]
"""What can be asked: OpenAI's endpoints, and with the same beginning vLLM's `/classify` and `/score`."""


ASKED: Final = "responses"
"""The field of a stored chat in which a request to /v1/responses stands without its input: its answer repeats it."""


HELD_TO: Final = "held"
"""The field of a stored chat that says what its answer is held to beyond its form: checks of fields, and where the text stands."""
ACCEPT: Final = "accept"
"""The field of a stored chat that says from which score on an answer of one model is accepted: `at`, `model`, and the `specialist`'s version."""
SCORE: Final = "rightsize_score"
"""The field of a specialist's answer by which it is accepted or not: 0 to 1, and 0 for what lies outside of what it has learnt."""
FAMILIARITY: Final = "rightsize_familiarity"
"""The field of a specialist's answer with the share of the learned texts that lay further from the others: drift of the texts is seen by it."""
CONFIDENCE: Final = "rightsize_confidence"
"""The field with the probability of a specialist's label: the score of one that tells no other."""
FIELDS: Final = "rightsize_fields"
"""The field of an answer in which it stands where each of its values was found in the document."""


class Tier(StrEnum):
    """The four kinds of model that a job can run on."""

    SLM = "slm"
    LLM = "llm"
    RLM = "rlm"
    MLLM = "mllm"


class Stakes(StrEnum):
    """How much hangs on a right answer, as the caller declares it."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class JobState(IntEnum):
    """Where a job stands. Values are stored; `lifecycle.NEXT` says what may follow what."""

    QUEUED = 1
    """Admitted, and waiting in Postgres for a dispatch."""
    ASSIGNED = 2
    """Part of one dispatch; whether it runs is a fact of that dispatch."""
    WAITING = 3
    """An attempt failed; waiting for its retry time."""
    GATHERING = 4
    """A document in pieces: waiting for the answers to all of them."""
    SUCCEEDED = 10
    FAILED = 11
    CANCELLED = 12
    EXPIRED = 13

    @property
    def label(self) -> str:
        """The name that people and the API see."""
        return self.name.lower()


TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class BatchStatus(StrEnum):
    """OpenAI's statuses of a batch, and no others."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class OutcomeKind(StrEnum):
    """What an attempt came to."""

    SUCCEEDED = "succeeded"
    RETRY = "retry"
    """Failed, and another attempt may succeed."""
    FAILED = "failed"
    """Failed for good."""
    REJECTED = "rejected"
    """Answered, but not well enough: the next tier of the cascade takes over."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model consumed and produced for one attempt.

    `cached_tokens` are part of `input_tokens`, and `reasoning_tokens` of `output_tokens`, as OpenAI counts them.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    audio_seconds: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt did not succeed: a stable code for programs, a sentence for people."""

    code: str
    message: str
    http_status: int = 500
    retry_after_s: float | None = None
    detail: str | None = None
    """What a model answered instead, and what is wrong with it, as JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine gave back for one request: an OpenAI response body and what it took."""

    body: dict[str, Any]
    usage: Usage
    model_revision: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt of one job came to, ready to be recorded."""

    kind: OutcomeKind
    usage: Usage = field(default_factory=Usage)
    body: bytes | None = None
    """The response body as JSON, when it succeeded."""
    fault: Fault | None = None
    model_revision: str = ""
    simulated: bool = False
    engine_s: float = 0.0
    """Seconds that the engine itself took."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a row is."""

    tenant_id: int
    project_id: int
    api_key_id: int


@dataclass(frozen=True, slots=True)
class Advised:
    """What the learned router says of one prompt."""

    model: str
    """The one that is worth its price."""
    expected: dict[str, float]
    """By model, the probability that it does the prompt well."""
    version: str
    """Of the router."""


Fence = tuple[int, int]
"""A job's id and the dispatch that it ran in: a write counts only while the job still belongs to that dispatch."""


@dataclass(slots=True)
class ClaimedJob:
    """One job as a worker holds it: everything that running and recording it needs."""

    id: int
    public_id: str
    owner: Owner
    batch_id: int
    """0 for a job outside any batch."""
    dispatch_id: int
    attempt: int
    """The number that this attempt will have, from 1."""
    tier: str
    model: str
    endpoint: str
    task: str | None
    price_version: int
    policy_version: int
    fleet_version: int
    interactive: bool
    deadline: datetime
    seconds_left: float
    """Until the deadline by the database's clock, read at the claim."""
    held_usd: Decimal
    stored_on: date
    body: bytes
    worst_usd: Decimal | None = None
    """The most that it may be charged from now on; None for a job of before that was known."""
    cascade: tuple[str, ...] = ()
    """Models that take over, in this order, where an answer is not accepted."""
    reply_to: str = ""
    """The Redis stream on which its caller waits for the answer; empty where that is the job's own."""
    earlier_attempts: int = 0
    """Those that earlier models of its cascade took."""
    is_piece: bool = False
    """Whether it is about a piece of a document: its batch counts the document, once."""
    unbilled: bool = False
    """Whether it is for us alone, as an audit is: its cost is ours, and nobody is charged."""

    @property
    def turn(self) -> int:
        """The number of this attempt among those of its model, from 1: each model of a cascade may be tried as often as any."""
        return self.attempt - self.earlier_attempts

    @property
    def engine_endpoint(self) -> str:
        """What its engine is asked: a response is a chat to it."""
        return "/v1/chat/completions" if self.endpoint == "/v1/responses" else self.endpoint

    @property
    def fence(self) -> Fence:
        """What every write for this job is held against; a worker may hold one job under two dispatches, of which one was lost."""
        return self.id, self.dispatch_id


def queue_for(tier: str, model: str, *, is_default: bool, interactive: bool = False) -> str:
    """The Celery queue of a model: `rightsize.llm` for a tier's default, `rightsize.llm.NAME` for a further one.

    `.now` stands at the end for interactive work.
    """
    name = f"rightsize.{tier}" if is_default else f"rightsize.{tier}.{model}"
    return f"{name}.now" if interactive else name


def answer_stream(job_public_id: str) -> str:
    """The Redis stream on which the answer of one interactive job travels back."""
    return f"rightsize.answer.{job_public_id}"


SIMULATED_BODY: Final = b'"system_fingerprint":"simulated"'
"""Stands in each body that a simulated model wrote."""
REPLIES: Final = "rightsize.replies."
"""Begins the name of each Redis stream on which an API process reads the answers to all that it has asked."""


CUT_CHANNEL: Final = "rightsize.cut"
"""The Redis channel on which the public id (32 hex digits) of a job is published that nobody waits for any more."""
MOST_PIECES: Final = 4_096
"""Pieces of one answer that its stream holds for a reader who is slow, at most; older ones are dropped."""
MOST_PIECES_BYTES: Final = 4 * 1024 * 1024
"""What they may come to together."""


def piece_id(attempt: int, number: int) -> str:
    """The id of a piece on its answer's stream: pieces of an attempt are numbered from 0, so that a reader sees whether one is missing.

    Redis takes ids in ascending order only, and the end of an answer has one of its clock, which is greater: no piece can come
    behind the end, or behind those of a later attempt.
    """
    return f"{attempt}-{number}"
