"""The fields of an OpenAI body: those that are known for each endpoint, and what each may hold. Pure.

What is wrong in one is said here, before a job is stored: an engine would refuse it only after the job has waited its turn, and
each in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from orchestrator.errors import InvalidRequest, quoted
from orchestrator.hints import is_number
from orchestrator.structured import check_parameters, form_of

PAIRED: Final = (("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"))
"""The names that vLLM knows for the two sides of a score."""
_COMMON = {"model", "user", "metadata", "seed", "stream", "stream_options", "service_tier", "store"}
_SAMPLING = {
    "max_tokens", "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs",
}  # fmt: skip
_EXTRAS = {"structured_outputs", "top_k", "min_p", "repetition_penalty", "min_tokens"}
"""What vLLM has beyond OpenAI's fields."""
ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "/v1/chat/completions": frozenset(
        _COMMON | _SAMPLING
        | {"messages", "max_completion_tokens", "response_format", "tools", "tool_choice", "parallel_tool_calls",
           "top_logprobs", "reasoning_effort"} | _EXTRAS
    ),
    "/v1/completions": frozenset(_COMMON | _SAMPLING | {"prompt", "suffix", "echo"} | _EXTRAS),
    "/v1/embeddings": frozenset(_COMMON | {"input", "encoding_format", "dimensions"}),
    "/v1/classify": frozenset(_COMMON - {"seed"} | {"input", "use_activation"}),
    "/v1/score": frozenset(_COMMON - {"seed"} | {"use_activation"} | {name for pair in PAIRED for name in pair}),
}  # fmt: skip
CAPS: Final[Mapping[str, tuple[float, float]]] = {
    "max_tokens": (1, 1_000_000), "max_completion_tokens": (1, 1_000_000), "n": (1, 16), "seed": (-(2**63), 2**63 - 1), "temperature": (0, 2),
    "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "top_logprobs": (0, 20),
    "dimensions": (1, 65_536), "top_k": (-1, 100_000), "min_p": (0, 1), "repetition_penalty": (0.01, 10), "min_tokens": (0, 1_000_000),
}  # fmt: skip
WHOLE: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "n", "top_logprobs", "dimensions", "top_k", "min_tokens", "seed"}
)
NOT_SERVED: Final = ("echo", "suffix")
"""Fields of OpenAI's that clients send empty, and that no engine here honours."""
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
MAX_STOPS: Final = 16
MAX_STOP_CHARS: Final = 1_000
MAX_BIASES: Final = 1_024
MAX_TOOLS: Final = 128
MAX_USER_CHARS: Final = 512
"""Of `user` and `service_tier`."""
SWITCHES: Final = ("use_activation", "parallel_tool_calls", "store")
"""Fields that are true or false."""
FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def check_fields(endpoint: str, body: Mapping[str, Any], *, streams: bool) -> None:
    """Check every field of a body but the texts that a model reads; raises InvalidRequest that names the field and the remedy."""
    allowed = ALLOWED[endpoint]
    if unknown := body.keys() - allowed - {"rightsize"}:
        raise InvalidRequest(
            f"Unknown fields: {quoted(unknown)}. Known for {endpoint}: {sorted(allowed)}.", param=min(unknown)
        )
    _check_caps(body)
    _check_choices(body, streams=streams)
    _check_stop(body.get("stop"))
    _check_logprobs(body.get("logprobs"), "top_logprobs" in allowed)
    _check_biases(body.get("logit_bias"))
    _check_tools(body.get("tools"), body.get("tool_choice"))
    form_of(body)


def check_calls(calls: object, index: int) -> None:
    """Check the calls of functions that a message of an assistant holds; `index` is the message's."""
    if calls is None:
        return
    if not isinstance(calls, list) or not all(
        _is_function(one) and isinstance(one["function"].get("arguments", ""), str) for one in calls
    ):
        raise InvalidRequest(
            f"`messages[{index}].tool_calls` must be a list of calls, each with `function`: its `name`, and `arguments` as text.",
            param="messages",
        )


def _check_caps(body: Mapping[str, Any]) -> None:
    for name in CAPS.keys() & body.keys():
        value = body[name]
        low, high = CAPS[name]
        if value is None:
            continue
        if not is_number(value, low, high) or (name in WHOLE and not isinstance(value, int)):
            raise out_of_cap(name, name)


def out_of_cap(name: str, cap: str) -> InvalidRequest:
    """The error for a field whose value is none that the named cap allows."""
    low, high = (f"{bound:,}".removesuffix(".0") for bound in CAPS[cap])
    kind = "a whole number" if cap in WHOLE else "a number"
    return InvalidRequest(f"`{name}` must be {kind} between {low} and {high}.", param=name)


def _check_choices(body: Mapping[str, Any], *, streams: bool) -> None:
    if body.get("stream") and not streams:
        raise InvalidRequest(
            "`stream: true` is not possible here. Leave it out and read the whole answer.", param="stream"
        )
    if not isinstance(body.get("stream"), (bool, type(None))):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    _check_stream_options(body.get("stream_options"), streamed=bool(body.get("stream")))
    if body.get("reasoning_effort") not in (None, *EFFORTS):
        raise InvalidRequest(f"`reasoning_effort` must be one of {', '.join(EFFORTS)}.", param="reasoning_effort")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise InvalidRequest("`encoding_format` must be float or base64.", param="encoding_format")
    for name in SWITCHES:
        if not isinstance(body.get(name), (bool, type(None))):
            raise InvalidRequest(f"`{name}` must be true or false.", param=name)
    for name in ("user", "service_tier"):
        if body.get(name) is not None and not (isinstance(body[name], str) and len(body[name]) <= MAX_USER_CHARS):
            raise InvalidRequest(f"`{name}` must be text of at most {MAX_USER_CHARS} characters.", param=name)
    if not isinstance(body.get("metadata"), (dict, type(None))):
        raise InvalidRequest("`metadata` must be an object of texts.", param="metadata")
    for name in NOT_SERVED:
        if body.get(name):
            raise InvalidRequest(f"`{name}` is not served. Leave it out: put such text together yourself.", param=name)


def _check_stream_options(options: object, *, streamed: bool) -> None:
    known = {"include_usage", "include_obfuscation"}
    if options is None:
        return
    if (
        not isinstance(options, dict)
        or options.keys() - known
        or not all(isinstance(one, bool) for one in options.values())
    ):
        raise InvalidRequest(
            '`stream_options` must be an object such as {"include_usage": true}.', param="stream_options"
        )
    if not streamed:
        raise InvalidRequest("Leave it out: `stream_options` is for `stream: true`.", param="stream_options")


def _check_stop(stop: object) -> None:
    given = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if len(given) > MAX_STOPS or not all(isinstance(one, str) and 0 < len(one) <= MAX_STOP_CHARS for one in given):
        raise InvalidRequest(
            f"`stop` must be text, or a list of at most {MAX_STOPS} texts, none of them empty or over "
            f"{MAX_STOP_CHARS:,} characters.",
            param="stop",
        )


def _check_logprobs(value: object, is_chat: bool) -> None:
    if value is None or (isinstance(value, bool) if is_chat else is_number(value, 0, 20) and isinstance(value, int)):
        return
    told = "true or false, with `top_logprobs` beside it" if is_chat else "a whole number between 0 and 20"
    raise InvalidRequest(f"`logprobs` must be {told}.", param="logprobs")


def _check_biases(value: object) -> None:
    if value is None:
        return
    if (
        not isinstance(value, dict)
        or len(value) > MAX_BIASES
        or not all(
            key.isascii() and key.isdigit() and len(key) <= 9 and is_number(bias, -100, 100)
            for key, bias in value.items()
        )
    ):
        raise InvalidRequest(
            f"`logit_bias` must give a number between -100 and 100 for each of at most {MAX_BIASES:,} tokens, by their ids.",
            param="logit_bias",
        )


def _check_tools(tools: object, choice: object) -> None:
    given = [] if tools is None else tools
    if (
        not isinstance(given, list)
        or (tools is not None and not given)
        or len(given) > MAX_TOOLS
        or not all(map(_is_tool, given))
    ):
        raise InvalidRequest(
            f'`tools` must be a list of 1 to {MAX_TOOLS} functions, such as {{"type": "function", "function": {{"name": "look", "parameters": {{...}}}}}}.',
            param="tools",
        )
    names = {one["function"]["name"] for one in given}
    named = _is_function(choice) and choice["function"]["name"] in names
    if not (choice in (None, "none", "auto") or (choice == "required" and names) or named):
        raise InvalidRequest(
            "`tool_choice` must be none, auto, required or one of the functions in `tools`, which it needs.",
            param="tool_choice",
        )
    check_parameters(
        [one["function"].get("parameters", {}) for one in given], forced=choice not in (None, "none", "auto")
    )


def _is_tool(value: object) -> bool:
    if not _is_function(value) or value.get("type") != "function":
        return False
    return isinstance(value["function"].get("parameters", {}), dict)


def _is_function(value: object) -> TypeGuard[dict[str, Any]]:
    function = value.get("function") if isinstance(value, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and FUNCTION_NAME.fullmatch(function["name"]) is not None
    )
