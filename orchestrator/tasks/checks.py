"""What a field is held to beyond its schema: patterns, ranges, sums, dates, and that it stands in the document. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.structured import matches

Rule = Literal["pattern", "range", "sum", "date", "in_source"]
MOST_FOUND: Final = 10_000
"""Fields of one answer that are looked at."""
POINTER: Final = r"^(/[^/]{1,200}){1,16}$"
Pointer = Annotated[str, Field(pattern=POINTER)]
"""A JSON pointer; `*` stands for each entry of a list, as in `/lines/*/amount`."""


class Check(BaseModel):
    """One rule for one field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Pointer
    rule: Rule
    pattern: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    least: Annotated[str, Field(max_length=40)] | None = None
    most: Annotated[str, Field(max_length=40)] | None = None
    of: Annotated[tuple[Pointer, ...], Field(max_length=20)] = ()
    """Of a sum: the fields that come to it; `*` takes every entry of a list."""
    tolerance: Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")] = "0.01"
    required: bool = False
    """Whether an answer without the field is wrong; otherwise it is looked at where it is there and not null."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needs = {"pattern": self.pattern, "range": self.least or self.most, "sum": self.of}
        if self.rule in needs and not needs[self.rule]:
            wanted = {"pattern": "pattern", "range": "least or most", "sum": "of"}[self.rule]
            raise ValueError(f"the rule {self.rule} needs `{wanted}`")
        if self.rule == "range" and not (_are(_number, self.least, self.most) or _are(_day, self.least, self.most)):
            raise ValueError("least and most must be numbers, or both days such as 2026-01-31")
        if self.pattern is not None:
            try:
                matches(self.pattern, "")
            except Exception as error:
                raise ValueError(
                    f"pattern cannot be matched in linear time: {str(error).splitlines()[0][:200]}"
                ) from None
        return self


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a field of an answer."""

    pointer: str
    message: str


def violations(answer: object, checks: Sequence[Check]) -> list[Violation]:
    """What of an answer the checks find wrong, but for `in_source`, which needs the document; see `sources.located`."""
    return [found for check in checks if check.rule != "in_source" for found in _held_to(answer, check)]


def _held_to(answer: object, check: Check) -> Iterator[Violation]:
    there = False
    for pointer, value in values_at(answer, check.field):
        if value is None:
            continue
        there = True
        if message := _RULES[check.rule](value, check, answer):
            yield Violation(pointer, message)
    if check.required and not there:
        yield Violation(check.field, "it is missing")


def _pattern(value: object, check: Check, _: object) -> str | None:
    text = value if isinstance(value, str) else str(value)
    return None if matches(f"^(?:{check.pattern})$", text) else f"it must match {check.pattern}, and is {text[:80]!r}"


def _range(value: object, check: Check, _: object) -> str | None:
    read = _number if _are(_number, check.least, check.most) else _day
    found: Any = read(value)
    if found is None:
        return f"it must be {'a number' if read is _number else 'a day'}, and is {str(value)[:80]!r}"
    low: Any = read(check.least) if check.least else None
    high: Any = read(check.most) if check.most else None
    if (low is not None and found < low) or (high is not None and found > high):
        return f"it must lie between {check.least or 'anything'} and {check.most or 'anything'}, and is {found}"
    return None


def _sum(value: object, check: Check, answer: object) -> str | None:
    whole = _number(value)
    parts = [found for pointer in check.of for _, found in values_at(answer, pointer) if found is not None]
    numbers = [_number(part) for part in parts]
    if whole is None or None in numbers:
        return "it and what it sums must be numbers"
    if not numbers:
        return None
    summed = sum((one for one in numbers if one is not None), start=Decimal(0))
    if abs(summed - whole) > Decimal(check.tolerance):
        return f"it must be the sum of {' and '.join(check.of)}, which is {summed}, and is {whole}"
    return None


def _date(value: object, _: Check, __: object) -> str | None:
    return None if _day(value) is not None else f"it must be a day such as 2026-01-31, and is {str(value)[:80]!r}"


_RULES: Final = {"pattern": _pattern, "range": _range, "sum": _sum, "date": _date}


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 30 else None


def _day(value: object) -> date | None:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _are(read: Any, *values: str | None) -> bool:
    return all(read(value) is not None for value in values if value is not None)


def values_at(answer: object, pointer: str) -> Iterator[tuple[str, object]]:
    """Each place that a pointer leads to, with what stands there; nothing where it leads nowhere."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    for count, found in enumerate(_walk(answer, steps, "")):
        if count >= MOST_FOUND:
            return
        yield found


def _walk(value: object, steps: Sequence[str], here: str) -> Iterator[tuple[str, object]]:
    if not steps:
        yield here, value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(value, Mapping):
        if step in value:
            yield from _walk(value[step], rest, f"{here}/{escaped(step)}")
    elif isinstance(value, list):
        places = (
            range(len(value))
            if step == "*"
            else [int(step)]
            if step.isascii() and step.isdigit() and len(step) < 9
            else []
        )
        for place in places:
            if place < len(value):
                yield from _walk(value[place], rest, f"{here}/{place}")


def escaped(step: str) -> str:
    """A key as a step of a pointer."""
    return step.replace("~", "~0").replace("/", "~1")
