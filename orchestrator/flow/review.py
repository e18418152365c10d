"""Review: the fields of an answer at which people should look, noted in the transaction that stores the answer.

A field is for people where it is less sure than `review.min_confidence` of its task, where pieces of the document differed about it, or
where it stands nowhere in the document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.contracts import FIELDS
from orchestrator.store import review
from orchestrator.tasks.checks import values_at

MARK: Final = b'"' + FIELDS.encode() + b'"'
"""Stands in every answer that says where its values were found, and hardly ever in another."""
MOST_FIELDS: Final = 1_000
"""Of one answer."""
MOST_CHARS: Final = 1_000
"""Of a value or pointer."""


def noted(body: bytes | None) -> str | None:
    """What of an answer may be for people to look at, by pointer as JSON; None for nearly all answers, at the cost of one search."""
    if body is None or MARK not in body:
        return None
    told: dict[str, Any] = orjson.loads(body)
    fields = told.get(FIELDS)
    return _written(fields, review.answer_in(body)) if isinstance(fields, Mapping) else None


def note(session: Session, job: Row[Any], fields: Mapping[str, Any], answer: str) -> None:
    """Put the one answer of a document in pieces on the list, in the transaction that stores it, where a field of it is for people.

    `fields` is what stands under `rightsize_fields` of its body, and `answer` the text of the answer.
    """
    if (found := _written(fields, answer)) is not None:
        review.put(session, [(job.id, found)])


def _written(fields: Mapping[str, Any], answer: str) -> str | None:
    """The fields that have a reason, as they are stored; None where there are none."""
    told: dict[str, Any] = {}
    value = _parsed(answer)
    for pointer, one in fields.items():
        if len(told) >= MOST_FIELDS or not isinstance(one, Mapping):
            continue
        if reason := one.get("review"):
            told[_text(pointer)] = {
                "value": _value(value, pointer), "reasons": [_text(reason)], "confidence": _number(one.get("confidence")),
                "page": one.get("page"), "box": one.get("box"),
            }  # fmt: skip
    return orjson.dumps(told).decode() if told else None


def _value(answer: Any, pointer: str) -> Any:
    """What stands at a pointer, in a form and size that the list can hold; an answer that is no JSON is its text."""
    found = answer if pointer == "" else next((one for _, one in values_at(answer, pointer)), None)
    if isinstance(found, str):
        return _text(found)
    if found is None or isinstance(found, bool) or (isinstance(found, int) and abs(found) < 2**53):
        return found
    if isinstance(found, float):
        return _number(found)
    return _text(json.dumps(found, ensure_ascii=False))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(value: object) -> str:
    """A text that the database takes."""
    return str(value)[:MOST_CHARS].encode("utf-8", "replace").decode().replace("\0", "")


def _parsed(answer: str) -> Any:
    """An answer's JSON, or its text."""
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return answer
