"""From a chat's answer to a response. Pure.

The ids of a response's items follow from its own id and their kind, so that the events of a stream name the same items.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from orchestrator.errors import Broken
from orchestrator.responses.said import Called, Said, logprobs_in, said_in
from orchestrator.responses.tools import PARTS

OURS: Final = "rightsize"
"""Fields of an answer that begin so are ours, and stay."""
_CUT_SHORT: Final[Mapping[object, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete, by a chat's `finish_reason`."""
_ECHOED: Final = (
    "instructions", "max_output_tokens", "max_tool_calls", "temperature", "top_p", "top_logprobs", "user", "safety_identifier",
    "prompt_cache_key",
)  # fmt: skip
_PREFIXES: Final[Mapping[str, str]] = {"reasoning": "rs", "message": "msg", "function_call": "fc"}


def from_chat(answer: Mapping[str, Any], asked: Mapping[str, Any], response_id: str, created_at: int) -> dict[str, Any]:
    """The response that a chat's answer is; `asked` is the request as its caller sent it, and `created_at` is in Unix seconds.

    Raises Broken for an answer without a message: none is recorded.
    """
    choice: Mapping[str, Any] = (answer.get("choices") or ({},))[0]
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise Broken("The stored answer of the chat has no message. `rightsize doctor` tells what else is wrong.")
    reason = _CUT_SHORT.get(choice.get("finish_reason"))
    is_cut = reason is not None or bool(answer.get("rightsize_cut"))
    response = shell(asked, response_id, created_at, str(answer.get("model")))
    response.update(
        status="incomplete" if is_cut else "completed",
        incomplete_details={"reason": reason} if is_cut else None,
        output=_output(said_in(message), logprobs_in(choice), response_id, is_cut=is_cut),
        usage=_usage(answer.get("usage") or {}),
    )
    return response | {name: value for name, value in answer.items() if name.startswith(OURS)}


def shell(asked: Mapping[str, Any], response_id: str, created_at: int, model: str) -> dict[str, Any]:
    """A response that has just begun: what was asked, and no output."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **{name: asked.get(name) for name in _ECHOED},
        "metadata": asked.get("metadata") or {},
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": (asked.get("reasoning") or {}).get("effort"), "summary": None},
        "service_tier": "default",
        "store": True,
        "text": {"format": _format(asked), "verbosity": "medium"},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": [
            {"type": "function", "name": tool["name"], **{part: tool.get(part) for part in PARTS}}
            for tool in asked.get("tools") or ()
        ],
        "truncation": "disabled",
    }


def item_id(kind: str, response_id: str, number: int = 0) -> str:
    """The id of an item: there is one message and one reasoning in a response, and any `number` of calls."""
    own = response_id.partition("_")[2] or response_id
    return f"{_PREFIXES[kind]}_{own}_{number}" if kind == "function_call" else f"{_PREFIXES[kind]}_{own}"


def named(name: str, given_id: str, own: str, taken: Container[str]) -> dict[str, str]:
    """How a call is named: its function, and the `call_id` by which it is answered; `own` is the id of its item.

    Where the model's server gave no `call_id`, or one that is taken, it follows from the item's.
    """
    return {"call_id": given_id if given_id and given_id not in taken else f"call_{own}", "name": name}


def _format(asked: Mapping[str, Any]) -> dict[str, Any]:
    given = (asked.get("text") or {}).get("format") or {"type": "text"}
    return {key: value for key, value in given.items() if value is not None}


def _output(said: Said, logprobs: list[dict[str, Any]], response_id: str, *, is_cut: bool) -> list[dict[str, Any]]:
    """Thought, message and calls, in this order; where the answer was cut, the last of them is incomplete."""
    items: list[dict[str, Any]] = []
    if said.thought:
        content = [{"type": "reasoning_text", "text": said.thought}]
        items.append({"id": item_id("reasoning", response_id), "type": "reasoning", "summary": [], "content": content})
    calls = _calls(said.calls, response_id)
    parts: list[dict[str, Any]] = []
    if said.text or not (calls or said.refusal):
        parts.append({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": said.text})
    if said.refusal:
        parts.append({"type": "refusal", "refusal": said.refusal})
    if parts:
        items.append({"id": item_id("message", response_id), "type": "message", "role": "assistant", "content": parts})
    items += calls
    last = len(items) - 1
    return [
        {**item, "status": "incomplete" if is_cut and place == last else "completed"}
        for place, item in enumerate(items)
    ]


def _calls(calls: list[Called], response_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    taken: set[str] = set()
    for call in calls:
        if call.name:
            own = item_id("function_call", response_id, len(items))
            told = named(call.name, call.call_id, own, taken)
            taken.add(told["call_id"])
            items.append({"id": own, "type": "function_call", **told, "arguments": call.arguments})
    return items


def _usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    read, written = int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": int(cached), "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": int(thought)},
        "total_tokens": read + written,
    }
