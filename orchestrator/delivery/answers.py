"""What one result line says: the answer, its document, where its fields were found, what it cost, or why there is none. Pure.

Lines come from a file that anyone may have changed, and answers from a model: whatever is missing or of the wrong type is taken as not
said, and nothing here raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import orjson

from orchestrator.contracts import FIELDS

Line = Mapping[str, Any]
"""A line of an output or error file, parsed."""
Box = tuple[float, float, float, float]

MOST_DEPTH: Final = 100
"""Of an answer that is read as JSON: what is nested deeper is shown as the text that it is."""
MOST_FIELDS: Final = 10_000
MOST_VIOLATIONS: Final = 100
MOST_EXACT_DIGITS: Final = 18
MOST_MONEY: Final = Decimal(10) ** 12
MOST_DECIMALS: Final = 30
_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """The document of a line, as far as the line tells of it."""

    name: str
    """Its name in the input; the line's `custom_id` where no document is told."""
    hash: str = ""
    kind: str = ""
    bytes: int | None = None
    pages: int | None = None
    chars: int | None = None
    sources: Mapping[str, int] = field(default_factory=dict)
    """Pages by where their text came from: `text`, `ocr` or `none`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the value of a field stands in its document, and how sure that is."""

    confidence: float | None = None
    page: int | None = None
    box: Box | None = None
    found: bool | None = None
    review: str = ""
    """Why a person should look at it; empty where nobody need."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing in which an answer has not the form that was asked for."""

    pointer: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a document has no answer."""

    code: str
    message: str
    violations: tuple[Violation, ...] = ()
    raw: str | None = None
    """What the model said instead."""


@dataclass(frozen=True, slots=True)
class Result:
    """All that a line says."""

    custom_id: str
    document: Document
    text: str
    """The answer as it was written; empty where there is none."""
    data: Any
    """The answer's JSON: an object or array, its numbers exact; None where it is not such a text."""
    failure: Failure | None = None
    was_cut: bool = False
    """Whether the answer ends because it came to its most tokens."""
    tier: str = ""
    model: str = ""
    rule: str = ""
    attempts: int | None = None
    cost_usd: Decimal | None = None
    engine_s: float | None = None
    simulated: bool = False
    reused: bool = False
    task: str = ""
    task_version: str = ""
    pieces: int | None = None
    fields: Mapping[str, Evidence] = field(default_factory=dict)
    """By JSON pointer."""

    @property
    def answer(self) -> Any:
        """The answer's JSON, or its text; None where there is neither."""
        if self.failure is not None:
            return None
        return self.text if self.data is None else self.data


def result_of(line: Line) -> Result:
    """What a line says."""
    line = _mapping(line)
    ours = _mapping(line.get("rightsize"))
    choice = _choice(line)
    message = _mapping(choice.get("message"))
    text = _text(message.get("content")) or _text(message.get("refusal"))
    custom_id = _text(line.get("custom_id"))
    return Result(
        custom_id=custom_id,
        document=_document(_mapping(ours.get("document")), custom_id),
        text=text,
        data=parsed(text),
        failure=_failure(line, ours),
        was_cut=choice.get("finish_reason") == "length",
        tier=_text(ours.get("tier")),
        model=_text(ours.get("model")),
        rule=_text(ours.get("rule")),
        attempts=_count(ours.get("attempts")),
        cost_usd=_money(ours.get("cost_usd")),
        engine_s=_positive(ours.get("engine_s")),
        simulated=ours.get("simulated") is True,
        reused=ours.get("reused") is True,
        task=_text(ours.get("task")),
        task_version=_label(ours.get("task_version")),
        pieces=_count(ours.get("pieces")),
        fields=_fields(_mapping(ours.get("fields") or _body(line).get(FIELDS))),
    )


def parsed(text: str) -> Any:
    """The JSON object or array that a text is, or None; fractions and long integers become exact decimals."""
    if text.lstrip()[:1] not in {"{", "["} or _is_deep(text):
        return None
    try:
        return json.loads(text, parse_float=_exact, parse_int=_whole, parse_constant=_refuse)
    except (ValueError, InvalidOperation, RecursionError):
        return None


def as_json(value: Any, *, indented: bool = False) -> str:
    """A value as JSON text; decimals stand in it digit by digit, and what is no character becomes `?`."""
    option = orjson.OPT_INDENT_2 if indented else 0
    try:
        return orjson.dumps(value, default=_digits, option=option).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(_clean(value), default=_digits, option=option).decode()


def valid(text: str) -> str:
    """A text that can be written as UTF-8, without NUL: half of a surrogate pair becomes `?`."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def escaped(key: str) -> str:
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def unescaped(part: str) -> str:
    """A part of a JSON pointer as the key that it is."""
    return part.replace("~1", "/").replace("~0", "~")


def _choice(line: Line) -> Mapping[str, Any]:
    choices = _mapping(_mapping(line.get("response")).get("body")).get("choices")
    return _mapping(choices[0]) if isinstance(choices, list) and choices else {}


def _body(line: Line) -> Mapping[str, Any]:
    return _mapping(_mapping(line.get("response")).get("body"))


def _document(told: Mapping[str, Any], custom_id: str) -> Document:
    sources = _mapping(told.get("sources"))
    pages = {name: count for name in ("text", "ocr", "none") if (count := _count(sources.get(name)))}
    return Document(
        name=_text(told.get("name")) or custom_id,
        hash=_text(told.get("hash")),
        kind=_text(told.get("kind")),
        bytes=_count(told.get("bytes")),
        pages=_count(told.get("pages")),
        chars=_count(told.get("chars")),
        sources=pages,
    )


def _failure(line: Line, ours: Mapping[str, Any]) -> Failure | None:
    body = _body(line)
    error = _mapping(line.get("error")) or _mapping(body.get("error"))
    if body and not error:
        return None
    given = ours.get("violations")
    violations = tuple(
        Violation(_text(one.get("pointer")), _text(one.get("message")))
        for one in (given[:MOST_VIOLATIONS] if isinstance(given, list) else ())
        if isinstance(one, Mapping)
    )
    raw = ours.get("raw")
    return Failure(
        code=_text(error.get("code")) or "unknown",
        message=_text(error.get("message")) or "The line holds neither an answer nor an error.",
        violations=violations,
        raw=_text(raw) if isinstance(raw, str) else None,
    )


def _fields(told: Mapping[str, Any]) -> dict[str, Evidence]:
    some = list(told.items())[:MOST_FIELDS]
    return {_text(pointer): _evidence(one) for pointer, one in some if isinstance(one, Mapping)}


def _evidence(told: Mapping[str, Any]) -> Evidence:
    confidence = _positive(told.get("confidence"))
    found = told.get("found")
    return Evidence(
        confidence=None if confidence is None else min(confidence, 1.0),
        page=_count(told.get("page")),
        box=_box(told.get("box")),
        found=found if isinstance(found, bool) else None,
        review=_text(told.get("review")),
    )


def _box(told: object) -> Box | None:
    if not isinstance(told, list | tuple) or len(told) != 4:
        return None
    left, top, right, bottom = (_positive(one) for one in told)
    if left is None or top is None or right is None or bottom is None:
        return None
    return (left, top, right, bottom)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return valid(value) if isinstance(value, str) else ""


def _label(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return float(value)


def _money(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > 40:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    places = amount.as_tuple().exponent
    is_sum = isinstance(places, int) and places >= -MOST_DECIMALS and 0 <= amount < MOST_MONEY
    return amount if is_sum else None


def _exact(digits: str) -> Decimal:
    return Decimal(digits)


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= MOST_EXACT_DIGITS else Decimal(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _digits(value: object) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return orjson.Fragment(str(value).encode())


def _clean(value: Any) -> Any:
    """A value without what JSON in UTF-8 cannot hold."""
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, Mapping):
        return {valid(str(key)): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


def _is_deep(text: str) -> bool:
    """Whether a JSON text is nested deeper than we read; most have too few brackets for it, which is seen at once."""
    if text.count("{") + text.count("[") <= MOST_DEPTH:
        return False
    depth = 0
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        depth += sign in {"{", "["}
        depth -= sign in {"}", "]"}
        if depth > MOST_DEPTH:
            return True
    return False
