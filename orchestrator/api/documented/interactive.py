"""Answers to requests that a caller waits for, in OpenAI's form with our `rightsize` object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.documented.shapes import Count, Note, Open, ResponseId, Stamp


class TokenUsage(Open):
    """Tokens of a request; engines add details."""

    prompt_tokens: Count
    total_tokens: Count
    completion_tokens: Count | None = None


class Message(Open):
    """What a model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Choice(Open):
    """One answer of a chat."""

    index: Count
    message: Message
    finish_reason: str | None
    logprobs: dict[str, Any] | None = None


class Completion(Open):
    """What answers of models have in common."""

    id: str
    created: Count
    model: str
    usage: TokenUsage
    rightsize: Note
    system_fingerprint: str | None = None


class ChatCompletion(Completion):
    """The answer to a chat."""

    object: Literal["chat.completion"]
    choices: list[Choice] = Field(min_length=1)


class Chunk(Open):
    """A piece of an answer as it comes; the last ones have its usage, where that is asked for, and our note."""

    id: str
    object: Literal["chat.completion.chunk", "text_completion"]
    created: Count
    model: str
    choices: list[dict[str, Any]]
    usage: TokenUsage | None = None
    rightsize: Note | None = None


class TextChoice(Open):
    """One completion of a prompt."""

    index: Count
    text: str
    finish_reason: str | None
    logprobs: dict[str, Any] | None = None


class TextCompletion(Completion):
    """The completion of a prompt."""

    object: Literal["text_completion"]
    choices: list[TextChoice] = Field(min_length=1)


class Embedding(Open):
    """One text as a vector: numbers, or with `encoding_format: base64` their bytes."""

    index: Count
    object: Literal["embedding"]
    embedding: list[float] | str


class Embeddings(Open):
    """Texts as vectors."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: TokenUsage
    rightsize: Note


class Class(Open):
    """The probabilities of one text's labels."""

    index: Count
    label: str | None
    probs: list[float]
    num_classes: Count


class Classes(Open):
    """Texts with the probabilities of their labels."""

    id: str
    object: Literal["list"]
    created: Count
    model: str
    data: list[Class]
    usage: TokenUsage
    rightsize: Note


class Score(Open):
    """How well one document answers its query."""

    index: Count
    object: Literal["score"]
    score: float


class Scores(Open):
    """How well documents answer their queries."""

    id: str
    object: Literal["list"]
    created: Count
    model: str
    data: list[Score]
    usage: TokenUsage
    rightsize: Note


class ResponseEvent(Open):
    """One of the events of OpenAI's Responses API."""

    type: str
    sequence_number: Count


class ResponseObject(Open):
    """A response of OpenAI's Responses API; `docs/openai.md` lists its fields."""

    id: ResponseId
    object: Literal["response"]
    created_at: Stamp
    status: Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    usage: dict[str, Any] | None
    metadata: dict[str, str] | None
    rightsize: Note | None = None
