"""What an OpenAI request body says: its text, its images, how many answers it wants, and how long it may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orchestrator.fields import PAIRED
from orchestrator.requests import SCORE, score_pairs
from workers.engines.base import EngineRequest

CHARS_PER_TOKEN: Final = 4
"""The usual rule of thumb for English; used only where no tokenizer counts."""

IMAGE_TOKENS: Final = 765
"""What an image is taken for where no server counts it."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: its characters by four, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def prompt_text(body: dict[str, Any]) -> str:
    """All text that a body gives to the model: its messages, prompt or input, joined by newlines."""
    messages = body.get("messages")
    if isinstance(messages, list):
        if len(messages) == 1 and isinstance(messages[0], dict) and isinstance(messages[0].get("content"), str):
            return str(messages[0]["content"])
        return "\n".join(text for message in messages for text in _texts(message))
    if any(name in body for _, name in PAIRED):
        return "\n".join(text for pair in score_pairs(body) for text in pair)
    given = body.get("prompt", body.get("input"))
    if isinstance(given, str):
        return given
    return "\n".join(item for item in given if isinstance(item, str)) if isinstance(given, list) else ""


def last_user_text(body: dict[str, Any]) -> str:
    """The text of the last message of role `user`; empty where there is none."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return "\n".join(_texts(message))
    return ""


def count_images(body: dict[str, Any]) -> int:
    """How many image parts the messages hold."""
    messages = body.get("messages")
    return sum(
        1
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, dict) and part.get("type") in ("image_url", "input_image")
    )


def output_limit(body: dict[str, Any]) -> int | None:
    """The most output tokens that a body allows, or None where it names no limit."""
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def wanted_choices(body: dict[str, Any]) -> int:
    """How many choices a body asks for: `n`, times the prompts of a completion."""
    n = body.get("n")
    count = n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1
    prompts = body.get("prompt")
    many = isinstance(prompts, list) and len(prompts) > 1 and not all(isinstance(item, int) for item in prompts)
    return count * len(prompts) if many and isinstance(prompts, list) else count


def wanted_rows(request: EngineRequest) -> int:
    """How many embeddings, classes or scores a request asks for: one for each text, list of tokens or pair."""
    if request.endpoint == SCORE:
        return len(score_pairs(request.body))
    given = request.body.get("input")
    if isinstance(given, list) and not all(isinstance(item, int) for item in given):
        return len(given)
    return 1


def _texts(message: object) -> Iterator[str]:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]
