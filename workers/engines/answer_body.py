"""From what a model wrote to an OpenAI response body with exact usage: for the engines that run a model themselves."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from workers.engines.base import EngineRequest
from workers.engines.prompt import count_images


@dataclass(slots=True)
class Written:
    """One choice as the model wrote it."""

    text: str
    tokens: int
    finish: str
    thought: str | None = None
    thought_tokens: int = 0
    logprobs: list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What the model read for a request, in tokens."""

    tokens: int
    cached: int


def chat_answer(request: EngineRequest, model: str, revision: str, read: Read, choices: Sequence[Written]) -> Answer:
    """The response body of a chat. Raises EngineFault where a function had to be called and was not."""
    _check_calls(request.body.get("tool_choice"), choices)
    rows = []
    for index, one in enumerate(choices):
        message: dict[str, Any] = {"role": "assistant", "content": one.text}
        if one.thought is not None:
            message["reasoning"] = one.thought
        finish = one.finish
        if one.tool_calls:
            message["tool_calls"], message["content"] = one.tool_calls, one.text or None
            finish = "tool_calls" if finish == "stop" else finish
        logprobs = {"content": one.logprobs} if one.logprobs is not None else None
        rows.append({"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs})
    return _answer(request, "chat.completion", (model, revision), read, choices, rows)


def _check_calls(told: object, choices: Sequence[Written]) -> None:
    if (told == "required" or isinstance(told, dict)) and not all(one.tool_calls for one in choices):
        raise EngineFault(
            "The model had to call a function and wrote something else. Ask for the arguments by `response_format` with a "
            "JSON schema, or take a model that was trained to call functions.",
            code="no_tool_call",
            retryable=True,
            http_status=502,
        )


def completion_answer(
    request: EngineRequest, model: str, revision: str, read: Read, choices: Sequence[Written]
) -> Answer:
    """The response body of a completion."""
    rows = [
        {"index": index, "text": one.text, "finish_reason": one.finish, "logprobs": flat(one.logprobs)}
        for index, one in enumerate(choices)
    ]
    return _answer(request, "text_completion", (model, revision), read, choices, rows)


def _answer(
    request: EngineRequest,
    kind: str,
    whose: tuple[str, str],
    read: Read,
    choices: Sequence[Written],
    rows: list[dict[str, Any]],
) -> Answer:
    model, revision = whose
    usage = Usage(
        read.tokens,
        read.cached,
        sum(one.tokens for one in choices),
        sum(one.thought_tokens for one in choices),
        count_images(request.body),
    )
    body = {
        "id": f"{'chatcmpl' if kind == 'chat.completion' else 'cmpl'}-{request.job_id}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "choices": rows,
        "usage": usage_body(usage),
    }
    return Answer(body, usage, revision)


def usage_body(usage: Usage) -> dict[str, Any]:
    """Usage in OpenAI's form."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def embeddings_answer(
    request: EngineRequest, model: str, revision: str, read: int, vectors: Sequence[Sequence[float]]
) -> Answer:
    """The response body of embeddings: numbers, or where `base64` is asked for their float32 bytes, little-endian."""
    usage = Usage(input_tokens=read)
    as_bytes = request.body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_bytes else list(map(float, vector))}
        for index, vector in enumerate(vectors)
    ]
    counts = {"prompt_tokens": read, "total_tokens": read}
    return Answer({"object": "list", "model": model, "data": rows, "usage": counts}, usage, revision)


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def classes_answer(
    request: EngineRequest,
    model: str,
    revision: str,
    read: Read,
    rows: Sequence[Sequence[float]],
    labels: Mapping[int, str],
) -> Answer:
    """The response body of a classification, in the form of `vllm serve`: of each text the likeliest label."""
    data = []
    for index, row in enumerate(rows):
        probs = list(row)
        label = labels.get(probs.index(max(probs)))
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    return _pooled(f"classify-{request.job_id}", model, revision, read, data)


def scores_answer(request: EngineRequest, model: str, revision: str, read: Read, scores: Sequence[float]) -> Answer:
    """The response body of a score, in the form of `vllm serve`."""
    data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
    return _pooled(f"score-{request.job_id}", model, revision, read, data)


def _pooled(name: str, model: str, revision: str, read: Read, data: list[dict[str, Any]]) -> Answer:
    usage = Usage(input_tokens=read.tokens, cached_tokens=read.cached)
    body = {
        "id": name, "object": "list", "created": int(time.time()), "model": model, "data": data, "usage": usage_body(usage),
    }  # fmt: skip
    return Answer(body, usage, revision)


def flat(logprobs: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Log probabilities of a chat's form in the older form of completions."""
    if logprobs is None:
        return None
    return {
        "tokens": [row["token"] for row in logprobs],
        "token_logprobs": [row["logprob"] for row in logprobs],
        "top_logprobs": [{top["token"]: top["logprob"] for top in row["top_logprobs"]} for row in logprobs],
    }
