"""Reviews as a table that people fill in, and what they filled in as decisions. Pure."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.delivery.answers import as_json, unescaped, valid
from orchestrator.delivery.table import safe
from orchestrator.errors import InvalidRequest

COLUMNS: Final = ("review", "document", "pointer", "value", "reasons", "confidence", "page", "correction", "decision")
DECISIONS: Final = ("confirm", "drop")
MOST_CELL_CHARS: Final = 1024 * 1024
MOST_STEPS: Final = 32
"""From a `$ref` to the next, and into a schema."""
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filled:
    """A line in which somebody wrote something."""

    number: int
    """Of the line in the file, from 1."""
    review: str
    pointer: str
    correction: str
    decision: str


@dataclass(slots=True)
class Wanted:
    """What somebody wants of one review."""

    review: str
    lines: list[Filled] = field(default_factory=list)

    @property
    def corrections(self) -> list[Filled]:
        """Lines with a better value."""
        return [line for line in self.lines if line.correction]

    @property
    def decision(self) -> str:
        """`correct`, `confirm` or `drop`; raises InvalidRequest where the lines differ."""
        said = {line.decision for line in self.lines if line.decision}
        if unknown := said - set(DECISIONS):
            raise InvalidRequest(
                f"The decision {min(unknown)!r} is none: write {' or '.join(DECISIONS)}, or a correction."
            )
        if self.corrections:
            if "drop" in said:
                raise InvalidRequest("It is both corrected and dropped: keep one of them.")
            return "correct"
        if len(said) > 1:
            raise InvalidRequest("Its lines say both confirm and drop: keep one of them.")
        return said.pop()


def rows(reviews: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The table: a line for each field at which people should look."""
    yield list(COLUMNS)
    for one in reviews:
        for pointer, told in one["fields"].items():
            confidence = "" if told["confidence"] is None else f"{told['confidence']:g}"
            page = "" if told["page"] is None else str(told["page"])
            yield [
                one["id"], safe(one["document"]["name"]), safe(pointer), cell(told["value"]), safe("; ".join(told["reasons"])), confidence,
                page, "", "",
            ]  # fmt: skip


def cell(value: Any) -> str:
    """A value as text: words as they are, but for what a spreadsheet would run, and all else as JSON."""
    if value is None:
        return ""
    return safe(valid(value)) if isinstance(value, str) else as_json(value)


def written(lines: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Lines as CSV (RFC 4180)."""

    class Line:
        """Takes what the writer makes of one line."""

        text = ""

        def write(self, text: str, /) -> None:
            """Keep it."""
            self.text = text

    made = Line()
    writer = csv.writer(made, lineterminator="\r\n")
    for line in lines:
        writer.writerow(line)
        yield made.text.encode("utf-8", "replace")


def filled(lines: Iterable[str]) -> list[Wanted]:
    """What was filled in, by review in the order of the file; raises InvalidRequest for what is no such table."""
    text = iter(lines)
    first = next(text, "").removeprefix("\ufeff")
    delimiter = ";" if ";" in first and "," not in first else ","
    csv.field_size_limit(MOST_CELL_CHARS)
    reader = csv.DictReader(_again(first, text), delimiter=delimiter)
    missing = {"review", "pointer", "correction", "decision"} - set(reader.fieldnames or ())
    if missing:
        raise InvalidRequest(
            f"The table has no column {min(missing)}: it needs review, pointer, correction and decision, as `--out` writes them."
        )
    wanted: dict[str, Wanted] = {}
    try:
        for row in reader:
            correction, decision = (row["correction"] or "").strip(), (row["decision"] or "").strip().lower()
            if correction or decision:
                review = (row["review"] or "").strip()
                line = Filled(reader.line_num, review, plain(row["pointer"] or ""), plain(correction), decision)
                wanted.setdefault(review, Wanted(review)).lines.append(line)
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} is no CSV: {error}.") from None
    return list(wanted.values())


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def plain(text: str) -> str:
    """A text without the apostrophe that keeps a spreadsheet from running it."""
    return text[1:] if text.startswith("'") and safe(text[1:]) == text else text


def corrected(answer: Any, corrections: Sequence[Filled], schema: Schema | None) -> Any:
    """An answer with better values at their pointers; raises InvalidRequest that says which cannot be put there."""
    whole = copy.deepcopy(answer)
    for line in corrections:
        steps = [unescaped(step) for step in line.pointer.split("/")[1:]]
        value = value_of(line.correction, _below(schema, steps))
        if not steps:
            whole = value
            continue
        _put(whole, steps, value, line.pointer)
    return whole


def _put(whole: Any, steps: Sequence[str], value: Any, pointer: str) -> None:
    at = whole
    for step in steps[:-1]:
        at = at.get(step) if isinstance(at, dict) else _entry(at, step)
    last = steps[-1]
    if isinstance(at, dict):
        at[last] = value
    elif isinstance(at, list) and last.isascii() and last.isdigit() and int(last) < len(at):
        at[int(last)] = value
    else:
        raise InvalidRequest(f"The answer has no place {pointer}: correct a field that it has.")


def _entry(at: Any, step: str) -> Any:
    is_place = isinstance(at, list) and step.isascii() and step.isdigit() and len(step) < 9 and int(step) < len(at)
    return at[int(step)] if is_place else None


def value_of(text: str, schema: Schema | None) -> Any:
    """What a cell says, by the type that its field has: words where that is text, otherwise JSON. Raises InvalidRequest."""
    kinds = _kinds(schema)
    found, is_json = _json(text)
    if kinds and not kinds - {"string", "null"}:
        if "null" in kinds and text == "null":
            return None
        return found if is_json and isinstance(found, str) else text
    if is_json:
        return found
    if not kinds or "string" in kinds:
        return text
    raise InvalidRequest(
        f"{text[:80]!r} is no {' or '.join(sorted(kinds))}: write it as JSON has it, such as 12.5 or true."
    )


def _json(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def _kinds(schema: Schema | None) -> set[str]:
    told = (schema or {}).get("type")
    return {str(one) for one in told} if isinstance(told, list) else {str(told)} if isinstance(told, str) else set()


def _below(schema: Schema | None, steps: Sequence[str]) -> Schema | None:
    """The schema of what stands at a place; None where it is not told."""
    at: Any = _resolved(schema, schema)
    for step in steps[:MOST_STEPS]:
        if not isinstance(at, Mapping):
            return None
        told = (at.get("properties") or {}).get(step) if isinstance(at.get("properties"), Mapping) else at.get("items")
        at = _resolved(told, schema)
    return at if isinstance(at, Mapping) else None


def _resolved(told: Any, root: Schema | None) -> Any:
    for _ in range(MOST_STEPS):
        reference = told.get("$ref") if isinstance(told, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        told = root
        for step in reference[2:].split("/"):
            told = told.get(unescaped(step)) if isinstance(told, Mapping) else None
    return told
