"""What a chat's message says, whole or in pieces, whichever server wrote it. Pure.

Servers are held to their counts when an answer is recorded, and not to every detail of its form: what cannot be read is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.hints import is_number


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a function, or a piece of one: empty where it says nothing."""

    place: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """A message, or a piece of one."""

    thought: str
    text: str
    refusal: str
    calls: list[Called]


def said_in(message: Mapping[str, Any]) -> Said:
    """What a message, or the delta of one, says."""
    calls = message.get("tool_calls")
    return Said(
        thought=_text(message.get("reasoning")) or _text(message.get("reasoning_content")),
        text=_text(message.get("content")),
        refusal=_text(message.get("refusal")),
        calls=[
            _called(call, place)
            for place, call in enumerate(calls if isinstance(calls, list) else ())
            if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
        ],
    )


def logprobs_in(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The log probabilities of a choice, or of a piece of one, in the form of a response; empty where there are none."""
    given = choice.get("logprobs")
    return [
        {**_likely(row), "top_logprobs": [_likely(one) for one in _rows(row.get("top_logprobs"))]}
        for row in _rows(given.get("content") if isinstance(given, Mapping) else None)
    ]


def _text(content: object) -> str:
    """Plain text, or the texts of a list of parts: some servers answer so."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _called(call: Mapping[str, Any], place: int) -> Called:
    function, index = call["function"], call.get("index")
    arguments = function.get("arguments")
    if isinstance(arguments, Mapping):  # as some servers have them, against OpenAI's form
        arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return Called(
        index if isinstance(index, int) else place, _text(call.get("id")), _text(function.get("name")), _text(arguments)
    )


def _rows(given: object) -> list[Mapping[str, Any]]:
    return [
        row
        for row in (given if isinstance(given, list) else ())
        if isinstance(row, Mapping) and isinstance(row.get("token"), str) and is_number(row.get("logprob"), -1e9, 1e9)
    ]


def _likely(row: Mapping[str, Any]) -> dict[str, Any]:
    told = row.get("bytes")
    spelled = told if isinstance(told, list) else list(row["token"].encode("utf-8", "replace"))
    return {"token": row["token"], "bytes": spelled, "logprob": row["logprob"]}
