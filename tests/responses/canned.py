"""Answers of chats as workers record them, and the chunks that they are streamed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

USAGE = {
    "prompt_tokens": 36,
    "completion_tokens": 87,
    "total_tokens": 123,
    "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens_details": {"reasoning_tokens": 40},
}
PICTURE = "data:image/png;base64,AAAA"


def says(
    text: str | None = "It is on its way.", *, finish: str = "stop", logprobs: Any = None, **message: Any
) -> dict[str, Any]:
    """A chat's answer: a text, and what else stands in its message."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
        "logprobs": None if logprobs is None else {"content": logprobs},
    }
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_001, "model": "fast", "choices": [choice],
        "usage": USAGE,
    }  # fmt: skip


def call(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    """A call of a function."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*given: dict[str, Any], text: str | None = None, **message: Any) -> dict[str, Any]:
    """A chat's answer that calls functions."""
    return says(text, finish="tool_calls", tool_calls=list(given), **message)


def token(text: str, logprob: float = -0.5, *others: str) -> dict[str, Any]:
    """A token with its log probability, as servers without `bytes` have it."""
    return {"token": text, "logprob": logprob, "top_logprobs": [{"token": one, "logprob": -2.5} for one in others]}


def chunks(answer: dict[str, Any], size: int = 5) -> Iterator[list[dict[str, Any]]]:
    """The `choices` of each chunk in which an answer of one choice is streamed, `size` characters at a time."""
    (choice,) = answer["choices"]
    message, rows = choice["message"], (choice["logprobs"] or {}).get("content")
    yield _chunk(role="assistant", content="")
    for name in ("reasoning", "content", "refusal"):
        if name == "content" and rows is not None:
            for row in rows:
                yield [{**_chunk(content=row["token"])[0], "logprobs": {"content": [row]}}]
            continue
        for piece in pieces(message.get(name) or "", size):
            yield _chunk(**{name: piece})
    for index, one in enumerate(message.get("tool_calls") or ()):
        function = one["function"]
        begun = {
            "index": index,
            "id": one["id"],
            "type": "function",
            "function": {"name": function["name"], "arguments": ""},
        }
        yield _chunk(tool_calls=[begun])
        for piece in pieces(function["arguments"], size):
            yield _chunk(tool_calls=[{"index": index, "function": {"arguments": piece}}])
    yield [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"], "logprobs": None}]


def pieces(text: str, size: int) -> list[str]:
    """A text in pieces of so many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _chunk(**delta: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}]
