"""The fields of a request to `/v1/responses`: what becomes of each, and what to do about those that are not served. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import InvalidRequest, quoted
from orchestrator.fields import CAPS, WHOLE, out_of_cap
from orchestrator.hints import is_number

ENDPOINT: Final = "/v1/responses"

FIELDS: Final[Mapping[str, str]] = {
    "model": "`auto`, a tier, or the name of a model",
    "input": "text, or a list of messages, `function_call` and `function_call_output`; `reasoning` in it is left out",
    "instructions": "stand before the input, as a system message",
    "max_output_tokens": "the most tokens of thought and answer together",
    "temperature": "as in a chat",
    "top_p": "as in a chat",
    "top_logprobs": "so many of the likeliest tokens at each place; any but 0 asks for log probabilities",
    "include": "`message.output_text.logprobs`; `reasoning.encrypted_content` is taken, and nothing comes of it",
    "text": "`format`: text, json_object or json_schema; `verbosity` only as medium",
    "reasoning": "`effort`; a `summary` is taken, and none is written: `rightsize.reasoning` gives the thoughts themselves",
    "tools": "functions of yours",
    "tool_choice": "none, auto, required, one function, or `allowed_tools`",
    "parallel_tool_calls": "as in a chat",
    "max_tool_calls": "taken: it counts calls of hosted tools, and there are none",
    "metadata": "up to 16 texts, given back with the response",
    "stream": "the response as events, while it is written",
    "stream_options": "`include_obfuscation` is taken, and nothing is obfuscated",
    "store": "taken: every answer is stored for the installation's retention, whether it is true or false",
    "truncation": "only `disabled`",
    "service_tier": "taken: there is one, and its name is default",
    "user": "taken, and given back",
    "safety_identifier": "taken, and given back",
    "prompt_cache_key": "taken, and given back: jobs of the same beginning go together by themselves",
    "prompt_cache_retention": "taken: an engine keeps beginnings for as long as it has room",
    "rightsize": "hints, as in a chat",
}
"""Every field that is taken, and what becomes of it; all others are refused."""

_AS_CHAT: Final = "Use /v1/chat/completions, which has it."
NOT_SERVED: Final[Mapping[str, str]] = {
    "previous_response_id": "Send the whole conversation in `input`: earlier items and the `output` of earlier responses.",
    "conversation": "Send the whole conversation in `input`: earlier items and the `output` of earlier responses.",
    "background": "Leave it out and wait for the answer, or hand the request in as a job (POST /v1/jobs) or in a batch.",
    "background_options": "Leave it out and hand the request in as a job (POST /v1/jobs) or in a batch.",
    "prompt": "Put the template's text into `instructions` and `input` yourself.",
    "prompt_cache_options": "Leave it out: an engine keeps the beginnings of prompts by itself.",
    "context_management": "Leave it out and shorten `input` yourself.",
    "moderation": "Leave it out, or ask a model for a verdict in a request of its own.",
    "access_programs": "Leave it out.",
    "image": "Leave it out: pictures are scaled to what the model takes.",
    "n": "Ask once for each answer; `rightsize.samples` writes several and chooses one.",
    "messages": "Send them as `input`, or use /v1/chat/completions.",
    "max_tokens": "Its name here is `max_output_tokens`.",
    "max_completion_tokens": "Its name here is `max_output_tokens`.",
    "response_format": "Its name here is `text.format`.",
    "reasoning_effort": "Its name here is `reasoning.effort`.",
    "logprobs": "Ask by `top_logprobs`.",
    "seed": _AS_CHAT,
    "stop": _AS_CHAT,
}
"""Fields that clients know and that are not served, each with what to do instead; empty ones (null or false) are let pass."""

CAPPED: Final[Mapping[str, str]] = {
    "max_output_tokens": "max_completion_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
}
"""Numbers, and the field of a chat whose bounds are theirs."""
INCLUDED: Final = ("message.output_text.logprobs", "reasoning.encrypted_content")
SERVICE_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
RETENTIONS: Final = ("in_memory", "in-memory", "24h")
MAX_NAME_CHARS: Final = 512
"""Of `user` and other texts that are only given back."""
MAX_METADATA: Final = 16
MAX_KEY_CHARS: Final = 64
MAX_VALUE_CHARS: Final = 512
MAX_TOOL_CALLS: Final = 1_000_000


def check_names(body: Mapping[str, Any]) -> None:
    """Refuse what is not served, with the remedy, and what is not known; raises InvalidRequest."""
    for name in sorted(body.keys() & NOT_SERVED.keys()):
        if body[name] is not None and body[name] is not False:
            raise InvalidRequest(f"`{name}` is not served by {ENDPOINT}. {NOT_SERVED[name]}", param=name)
    if unknown := body.keys() - FIELDS.keys() - NOT_SERVED.keys():
        raise InvalidRequest(
            f"Unknown fields: {quoted(unknown)}. Known for {ENDPOINT}: {sorted(FIELDS)}.", param=min(unknown)
        )


def check_values(body: Mapping[str, Any]) -> None:
    """Check every field that is a number, a choice or a short text; raises InvalidRequest that names it and what it may be."""
    for name, cap in CAPPED.items():
        value, (low, high) = body.get(name), CAPS[cap]
        if value is not None and not (is_number(value, low, high) and (cap not in WHOLE or isinstance(value, int))):
            raise out_of_cap(name, cap)
    calls = body.get("max_tool_calls")
    if calls is not None and not (isinstance(calls, int) and is_number(calls, 1, MAX_TOOL_CALLS)):
        raise InvalidRequest(
            f"`max_tool_calls` must be a whole number up to {MAX_TOOL_CALLS:,}.", param="max_tool_calls"
        )
    for name in ("stream", "store", "parallel_tool_calls"):
        if not isinstance(body.get(name), (bool, type(None))):
            raise InvalidRequest(f"`{name}` must be true or false.", param=name)
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        _check_text(name, body.get(name))
    _check_choice(body, "service_tier", SERVICE_TIERS)
    _check_choice(body, "prompt_cache_retention", RETENTIONS)
    if body.get("truncation") not in (None, "disabled"):
        raise InvalidRequest(
            "`truncation` must be disabled: nothing of `input` is dropped unseen. Shorten it yourself.",
            param="truncation",
        )
    _check_model(body.get("model"))
    _check_metadata(body.get("metadata"))
    _check_include(body.get("include"))
    _check_stream_options(body.get("stream_options"))


def _check_choice(body: Mapping[str, Any], name: str, known: tuple[str, ...]) -> None:
    if body.get(name) not in (None, *known):
        raise InvalidRequest(f"`{name}` must be one of {', '.join(known)}.", param=name)


def _check_text(name: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and len(value) <= MAX_NAME_CHARS):
        raise InvalidRequest(f"`{name}` must be text of at most {MAX_NAME_CHARS} characters.", param=name)


def _check_model(value: object) -> None:
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= 128):
        raise InvalidRequest('`model` must be "auto", a tier, or the name of a model.', param="model")


def _check_metadata(value: object) -> None:
    if value is None:
        return
    if (
        not isinstance(value, dict)
        or len(value) > MAX_METADATA
        or not all(isinstance(text, str) and len(text) <= MAX_VALUE_CHARS for text in value.values())
        or not all(0 < len(key) <= MAX_KEY_CHARS for key in value)
    ):
        raise InvalidRequest(
            f"`metadata` must be at most {MAX_METADATA} texts of at most {MAX_VALUE_CHARS} characters, with names of at most "
            f"{MAX_KEY_CHARS}.",
            param="metadata",
        )


def _check_include(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, list) or not all(one in INCLUDED for one in value):
        raise InvalidRequest(
            f"`include` must be a list of what there is to include: {', '.join(INCLUDED)}.", param="include"
        )


def _check_stream_options(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or value.keys() - {"include_obfuscation"}:
        raise InvalidRequest(
            "`stream_options` may hold `include_obfuscation` and nothing else.", param="stream_options"
        )
