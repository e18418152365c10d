"""What becomes of an answer to a task: the fields that break a rule, and where each value stands in the document. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.tasks import text
from orchestrator.tasks.checks import Check, Violation, escaped, values_at, violations
from orchestrator.tasks.confidence import confidences
from orchestrator.tasks.definition import Task
from orchestrator.tasks.document import Document
from orchestrator.tasks.prompt import OPEN
from orchestrator.tasks.sources import Place, Source

BEFORE: Final = len(OPEN) + 1
"""Signs that stand before the text in the message that holds it."""
MOST_DEPTH: Final = 12
UNKNOWN: Final[Mapping[str, Any]] = {"found": None, "page": None, "box": None, "confidence": None, "review": None}
"""Of a value that was not looked for."""
MOST_FIELDS: Final = 2_000
"""Of one answer whose places are told."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an answer is held to beyond its form, as a job carries it to the worker."""

    checks: Sequence[Check] = ()
    places: Sequence[Place] = ()
    sought: Sequence[str] = ()
    """Pointers of the fields whose values are looked for in the text; none where not all of it was read as text."""
    pages: Mapping[int, float] = field(default_factory=dict)
    """How sure the reader was of pages that were read from pictures."""
    least: float | None = None
    """The confidence under which a field goes to people."""

    @classmethod
    def of(cls, task: Task, document: Document, places: Sequence[Place]) -> Held:
        """For a task and a document."""
        is_read = bool(places) and all(page.source != "none" for page in document.pages or ())
        sought = sought_in(task.output_schema) if is_read and task.output_schema is not None else ()
        pages = {page.number: page.confidence for page in document.pages or () if page.confidence is not None}
        return cls(task.checks, places, sought, pages, task.review.min_confidence)

    def to_json(self) -> dict[str, Any]:
        """As it is stored with the job."""
        return {
            "checks": [check.model_dump(mode="json", exclude_defaults=True) for check in self.checks],
            "places": text.written(self.places), "sought": list(self.sought), "pages": list(self.pages.items()), "least": self.least,
        }  # fmt: skip

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Held:
        """From what was stored."""
        checks = tuple(Check.model_validate(one) for one in raw["checks"])
        pages = {int(page): float(sure) for page, sure in raw.get("pages") or ()}
        return cls(checks, text.read(raw["places"]), raw["sought"], pages, raw.get("least"))


def broken(answer: str, held: Held) -> list[Violation]:
    """The fields of an answer that break a rule; of one that is no JSON, nothing: its form says so."""
    return violations(_parsed(answer), held.checks) if held.checks else []


def told(
    answer: str, source: str, held: Held, tokens: Sequence[Mapping[str, Any]] = ()
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """By JSON pointer, what is known of each value of an answer: its place in the text, and how sure it is; `review` says why people should look at it.

    A value that stands nowhere in the text is `not_in_source`; what is chosen from a list, such as a label, is not looked for. One that
    is less sure than the task wants is of `low_confidence`: the lower of the model's (`tokens` are the answer's, with their log
    probabilities) and of the reader's of its page.
    """
    fields = located(answer, source, held)
    sure = confidences(answer, tokens) if tokens else {}
    for pointer, confidence in sure.items():
        one = fields.setdefault(pointer, dict(UNKNOWN)) if len(fields) < MOST_FIELDS else fields.get(pointer, {})
        one["confidence"] = min(confidence, one.get("confidence") or 1.0)
    for one in fields.values():
        if held.least is not None and one["confidence"] is not None and one["confidence"] < held.least:
            one["review"] = one["review"] or "low_confidence"
    return fields


def located(answer: str, source: str, held: Held) -> dict[str, dict[str, Any]]:
    """By JSON pointer, where each value of an answer that can be looked for stands in the text."""
    if not held.sought:
        return {}
    value = _parsed(answer)
    where = Source(source, [Place(one.start + BEFORE, one.end + BEFORE, one.page, one.box) for one in held.places])
    sought = dict.fromkeys([*held.sought, *(check.field for check in held.checks if check.rule == "in_source")])
    fields: dict[str, dict[str, Any]] = {}
    for pointer, one in (found for pattern in sought for found in values_at(value, pattern)):
        if len(fields) >= MOST_FIELDS or not isinstance(one, (str, int, float)) or isinstance(one, bool):
            continue
        at = where.find(one)
        fields[pointer] = {
            "found": at is not None, "page": at.page if at else None, "box": at.box if at else None,
            "confidence": held.pages.get(at.page) if at and at.page else None, "review": None if at else "not_in_source",
        }  # fmt: skip
    return fields


def sought_in(schema: Mapping[str, Any], here: str = "", depth: int = 0) -> list[str]:
    """The pointers of a schema's fields that hold words or numbers of the document: those that are free, and not one of a list."""
    if depth > MOST_DEPTH or schema.get("enum") or "const" in schema:
        return []
    kinds = schema.get("type")
    named = set(kinds if isinstance(kinds, list) else [kinds])
    found = [here] if here and named & {"string", "number", "integer"} else []
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, Mapping):
        for name, one in properties.items():
            found += sought_in(one, f"{here}/{escaped(name)}", depth + 1) if isinstance(one, Mapping) else []
    if isinstance(items, Mapping):
        found += sought_in(items, f"{here}/*", depth + 1)
    return found[:MOST_FIELDS]


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None
