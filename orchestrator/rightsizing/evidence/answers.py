"""What stored requests and answers say: the text that was asked about, what was answered, how sure of it, and whether two agree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from orchestrator.contracts import ACCEPT, CONFIDENCE, FAMILIARITY, SCORE

_EDGES: Final = " \t\r\n.,;:!?\"'`*"
_BLANKS: Final = re.compile(r"\s+")


def asked_text(body: bytes) -> str:
    """The text of the last message of a stored chat; empty where there is none."""
    for message in reversed(orjson.loads(body).get("messages") or []):
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = content if isinstance(content, list) else []
            return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
    return ""


def instructions_of(body: bytes) -> str:
    """What a stored chat says before its user does."""
    messages = orjson.loads(body).get("messages") or []
    told = [
        one.get("content")
        for one in messages
        if isinstance(one, Mapping) and one.get("role") in ("system", "developer")
    ]
    return "\n".join(part for part in told if isinstance(part, str))


def asked_again(body: bytes, specialist: str | None = None) -> bytes:
    """A stored chat for a model whose answer is taken as it comes; of a specialist a version may be named."""
    found = orjson.loads(body)
    found.pop(ACCEPT, None)
    if specialist is not None:
        found[ACCEPT] = {"at": 0.0, "specialist": specialist}
    return orjson.dumps(found)


def answer_of(body: bytes) -> str | None:
    """What a stored answer says in its first choice; None for one that says no text."""
    found = orjson.loads(body)
    if found.get("object") == "response":
        return _said_in(found)
    choices = found.get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return content if isinstance(content, str) else None


def _said_in(response: Mapping[str, Any]) -> str | None:
    """The text of a response's messages."""
    parts = [
        part
        for one in response.get("output") or ()
        if one.get("type") == "message"
        for part in one.get("content") or ()
    ]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if texts else None


def score_of(body: bytes) -> float | None:
    """How sure a specialist was of its answer."""
    found = orjson.loads(body)
    score = found.get(SCORE, found.get(CONFIDENCE))
    return float(score) if isinstance(score, (int, float)) else None


def familiarity_of(body: bytes) -> float | None:
    """How much at home a text was among those that the specialist has learned, from 0 to 1; None where the answer does not tell."""
    found = orjson.loads(body).get(FAMILIARITY)
    return float(found) if isinstance(found, (int, float)) else None


def label_of(answer: str | None) -> str:
    """What an answer says as one label, normalised as `agrees` compares it."""
    value = "" if answer is None else _value(answer)
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def unknown_labels(known: Iterable[str], given: Sequence[str]) -> list[str]:
    """Labels that are none of those known, each once; of labels that are objects nothing is said."""
    can = {label_of(label) for label in known}
    if not can or any(label.startswith("{") for label in given):
        return []
    return sorted({label for label in given if label_of(label) not in can})


def agrees(one: str | None, other: str | None) -> bool:
    """Whether two answers say the same: JSON by its values, a label without regard to case, blanks and what stands around it."""
    if one is None or other is None:
        return False
    left, right = _value(one), _value(other)
    return left == right and left is not None


def fields_right(said: str, right: str | None) -> dict[str, bool]:
    """Of an answer with several fields, whether each is what it should be; nothing for any other answer."""
    ours, theirs = _value(said), None if right is None else _value(right)
    if not isinstance(ours, dict):
        return {}
    return {name: isinstance(theirs, dict) and name in theirs and theirs[name] == value for name, value in ours.items()}


def _value(answer: str) -> Any:
    """An object with one field is that field's value: a label is the same inside an object as without one."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return _plain(answer)
    if isinstance(found, dict) and len(found) == 1:
        (found,) = found.values()
    return _normal(found)


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _normal(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_normal(one) for one in value]
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text.replace("_", " ")).strip(_EDGES).casefold()
