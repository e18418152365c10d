"""Checks what a server answered before anybody trusts it: model, choices, usage.

Usage is money, so a count that cannot be is a fault and never corrected (`bad_usage`, retryable): a server that counts
nonsense once may count rightly the next time, and must not set the price of an answer. Only usage that is missing
altogether is estimated, from the text by four characters a token, and the body says so by
`"rightsize_usage": "estimated"`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from orchestrator.requests import CLASSIFY, POOLING, SCORE
from workers.engines.base import EngineRequest
from workers.engines.prompt import (
    IMAGE_TOKENS,
    count_images,
    estimate_tokens,
    prompt_text,
    wanted_choices,
    wanted_rows,
)

_TEMPLATE_TOKENS: Final = 16_384
"""What a chat template and one image may add to a prompt whose tokens are otherwise at most its bytes."""
MOST_NAME: Final = 64
_CHOICE_TOKENS: Final = 1_000_000
"""No model writes more in one choice."""


def bad_answer(code: str, message: str, *, retryable: bool = True) -> EngineFault:
    """The fault of an answer that cannot be used."""
    return EngineFault(message, code=code, retryable=retryable, http_status=502)


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object in a body; numbers that JSON does not have (NaN, Infinity) become null."""
    try:
        body = json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise bad_answer("bad_json", "The server's answer is not JSON.") from None
    if not isinstance(body, dict):
        raise bad_answer("bad_json", "The server's answer is JSON, but no object.")
    return body


def checked(request: EngineRequest, asked: str, key: str, body: dict[str, Any], request_bytes: int) -> Answer:
    """The Answer in a response body; raises EngineFault where it cannot be one.

    `asked` is the name of the model that was asked for, `key` the entry of rightsize.toml that names the server, and
    `request_bytes` the length of the request's body.
    """
    revision = revision_of(asked, key, body)
    if not _is_name(body.get("service_tier")):
        body.pop("service_tier", None)
    if request.endpoint in POOLING:
        _check_rows(request, body)
    else:
        _check_choices(request, body)
    images = count_images(request.body)
    counts = body.get("usage")
    if counts is None:
        usage = estimated(request, body, images)
        body["usage"] = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        body["rightsize_usage"] = "estimated"
    else:
        usage = usage_of(request, counts, images, request_bytes)
    return Answer(body, usage, revision)


def revision_of(asked: str, key: str, body: dict[str, Any]) -> str:
    """Which model answered; raises EngineFault `wrong_model` for another than was asked."""
    answered = body.get("model") or asked
    if not isinstance(answered, str) or not (
        answered == asked or answered.startswith(tuple(asked + c for c in "-@:."))
    ):
        message = (
            f"Model {asked!r} was asked, but {str(answered)[:100]!r} answered at {key}. "
            "Correct served_model or the address in rightsize.toml."
        )
        raise bad_answer("wrong_model", message, retryable=False)
    fingerprint = body.get("system_fingerprint")
    return f"{answered}+{fingerprint[:64]}" if isinstance(fingerprint, str) and fingerprint else answered


def _is_name(value: object) -> bool:
    """Whether a word of a server's own may be handed on."""
    return isinstance(value, str) and 0 < len(value) <= MOST_NAME


def _check_choices(request: EngineRequest, body: dict[str, Any]) -> None:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise bad_answer("bad_choices", "The server's answer has no choices.")
    seen = _indexes(choices, "choices")
    if len(seen) > wanted_choices(request.body):
        raise bad_answer("bad_choices", f"The server's answer has {len(seen)} choices, more than were asked for.")
    chat = request.endpoint == "/v1/chat/completions"
    for choice in choices:
        message = choice.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        fits = isinstance(message, dict) and isinstance(content, str | list | None) if chat else _is_text(choice)
        if not fits:
            raise bad_answer(
                "bad_choices", f"The server's answer has a choice without {'a message' if chat else 'text'}."
            )


def _check_rows(request: EngineRequest, body: dict[str, Any]) -> None:
    """Embeddings, classes or scores: one of each text or pair, and each of numbers."""
    what = {CLASSIFY: "classes", SCORE: "scores"}.get(request.endpoint, "embeddings")
    rows = body.get("data")
    wanted = wanted_rows(request)
    if not isinstance(rows, list) or len(_indexes(rows, what)) != wanted:
        raise bad_answer("bad_choices", f"The server's answer does not have the {wanted} {what} asked for.")
    for row in rows:
        if request.endpoint == SCORE:
            sound = _is_number(row.get("score"))
        elif request.endpoint == CLASSIFY:
            probs = row.get("probs")
            sound = isinstance(probs, list) and bool(probs) and all(map(_is_number, probs))
        else:
            vector = row.get("embedding")
            sound = isinstance(vector, list | str) and bool(vector)
        if not sound:
            raise bad_answer("bad_choices", f"The server's answer has among its {what} one without numbers.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("text"), str)


def _indexes(rows: list[Any], what: str) -> set[int]:
    seen: set[int] = set()
    for position, row in enumerate(rows):
        index = row.get("index", position) if isinstance(row, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or index < 0 or index in seen:
            raise bad_answer("bad_choices", f"The {what} of the server's answer have indexes twice, or none.")
        seen.add(index)
    return seen


def usage_of(request: EngineRequest, counts: object, images: int, request_bytes: int) -> Usage:
    """The usage that a server counts; raises EngineFault `bad_usage` for counts that cannot be."""
    if not isinstance(counts, dict):
        raise _bad_usage("usage is no object")
    reads_only = request.endpoint in POOLING
    # A cross-encoder reads the query again with each document.
    times = wanted_rows(request) if request.endpoint == SCORE else 1
    total = counts.get("total_tokens")
    read = _count(counts, "prompt_tokens", times * request_bytes + _TEMPLATE_TOKENS * (1 + images))
    most = 0 if reads_only else _CHOICE_TOKENS * wanted_choices(request.body)
    written = 0 if reads_only else _count(counts, "completion_tokens", most)
    cached = _detail(counts, "prompt_tokens_details", "cached_tokens", read)
    reasoning = _detail(counts, "completion_tokens_details", "reasoning_tokens", most)
    if reasoning and total == read + written + reasoning:
        written += reasoning  # some servers count reasoning beside the completion; OpenAI counts it in
        counts["completion_tokens"] = written
    if cached > read:
        raise _bad_usage("more cached tokens than prompt tokens")
    if reasoning > written:
        raise _bad_usage("more reasoning tokens than completion tokens")
    return Usage(read, cached, written, reasoning, images)


def _count(counts: dict[str, Any], name: str, most: int) -> int:
    value = counts.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad_usage(f"{name} is no whole number")
    if not 0 <= value <= most:
        raise _bad_usage(f"{name} is {str(value)[:24]}, which the request cannot have taken")
    return value


def _detail(counts: dict[str, Any], group: str, name: str, most: int) -> int:
    details = counts.get(group)
    if not isinstance(details, dict) or details.get(name) is None:
        return 0
    return _count(details, name, most)


def _bad_usage(why: str) -> EngineFault:
    return bad_answer("bad_usage", f"The server's count of tokens cannot be right: {why}.")


def estimated(request: EngineRequest, body: dict[str, Any], images: int) -> Usage:
    """About what an answer took, where nobody counts: by four characters a token."""
    written = 0
    for choice in body.get("choices", ()):
        message = choice["message"] if isinstance(choice.get("message"), dict) else choice
        tools = message.get("tool_calls")
        parts = (
            message.get("content"),
            message.get("text"),
            message.get("reasoning_content") or message.get("reasoning"),
            tools and json.dumps(tools),
        )
        written += sum(estimate_tokens(part) for part in parts if isinstance(part, str))
    read = estimate_tokens(prompt_text(request.body)) + images * IMAGE_TOKENS
    return Usage(input_tokens=read, output_tokens=written, images=images)
