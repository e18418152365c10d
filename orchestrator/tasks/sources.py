"""Where a value of an answer stands in the document: as text, as a number in any usual form, or as a day. Pure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Final

from orchestrator.tasks.dates import days_in

MOST_CHARS: Final = 20_000_000
LONG: Final = 7
"""Digits from which on a number is looked for without regard to what stands between them."""
_NUMBER: Final = re.compile(r"(?<![\w.,])[-+(]?\d[\d.,'’\u00a0\u202f ]*\d|\d")
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of the text that a model read, and where it stands in the document."""

    start: int
    end: int
    page: int
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Where a value stands."""

    page: int | None
    box: tuple[float, float, float, float] | None


class Source:
    """The text of a document with its places; what is asked of it first is prepared once."""

    def __init__(self, text: str, places: Sequence[Place] = ()) -> None:
        """`places` in the order of the text."""
        self._text, self._places = text[:MOST_CHARS], places
        self._starts = [place.start for place in places]

    def find(self, value: Any) -> Found | None:
        """Where a value stands, the first time; None where it does not. Empty text, true, false and null stand everywhere."""
        if value is None or isinstance(value, bool) or (isinstance(value, str) and not value.strip()):
            return Found(None, None)
        at = self._of_number(Decimal(str(value))) if isinstance(value, (int, float)) else self._of_text(str(value))
        return None if at is None else self._at(at)

    def _at(self, offset: int) -> Found:
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self._places[index].end:
            return Found(None, None)
        return Found(self._places[index].page, self._places[index].box)

    def _of_text(self, value: str) -> int | None:
        plain = "".join(sign for sign, _ in _folded(value)).strip()
        if (at := self._plain[0].find(plain)) >= 0:
            return self._plain[1][at]
        if _ISO.fullmatch(value) and (at := self._days.get(_day(value), -1)) >= 0:
            return at
        number = _as_number(value)
        if number is not None:
            return self._of_number(number)
        bare = "".join(sign for sign in plain if sign.isalnum())
        if len(bare) >= 3 and (at := self._bare[0].find(bare)) >= 0:
            return self._bare[1][at]
        return None

    def _of_number(self, value: Decimal) -> int | None:
        at = self._numbers.get(abs(value))
        if at is None and value == value.to_integral_value() and len(digits := f"{abs(value):.0f}") >= LONG:
            found = self._bare[0].find(digits)  # a number of a person or an account, written in groups
            at = self._bare[1][found] if found >= 0 else None
        return at

    @cached_property
    def _plain(self) -> tuple[str, list[int]]:
        """The text in small letters without accents, each run of blanks one, and where each sign of it comes from."""
        signs: list[str] = []
        origins: list[int] = []
        for sign, origin in _folded(self._text):
            signs.append(sign)
            origins.append(origin)
        return "".join(signs), origins

    @cached_property
    def _bare(self) -> tuple[str, list[int]]:
        """Letters and digits alone: what a table or a line's end has torn apart is whole again."""
        text, origins = self._plain
        kept = [(sign, origin) for sign, origin in zip(text, origins, strict=True) if sign.isalnum()]
        return "".join(sign for sign, _ in kept), [origin for _, origin in kept]

    @cached_property
    def _numbers(self) -> dict[Decimal, int]:
        found: dict[Decimal, int] = {}
        for match in _NUMBER.finditer(self._text):
            for number in readings(match[0]):
                found.setdefault(abs(number), match.start())
        return found

    @cached_property
    def _days(self) -> dict[date | None, int]:
        found: dict[date | None, int] = {}
        text, origins = self._plain
        for day, start, _ in days_in(text):
            found.setdefault(day, origins[start])
        return found


def readings(written: str) -> Iterator[Decimal]:
    """The numbers that a written one may be: `1.234` is one and a bit in English, and over a thousand in German."""
    signs = re.sub(r"[\s'’\u00a0\u202f(+-]", "", written)
    forms = {signs.replace(",", ""), signs.replace(".", "").replace(",", "."), signs.replace(",", "").replace(".", "")}
    for form in forms:
        try:
            yield Decimal(form)
        except InvalidOperation:
            continue
    if " " in written.strip():  # several numbers side by side
        for part in written.split():
            yield from readings(part)


def _as_number(value: str) -> Decimal | None:
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _day(value: str) -> date | None:
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _folded(text: str) -> Iterator[tuple[str, int]]:
    """Signs in small letters, without accents and with one blank for a run of them, each with its place."""
    blank = True
    for origin, sign in enumerate(text):
        if sign.isspace():
            if not blank:
                yield " ", origin
            blank = True
            continue
        if sign.isascii():
            yield sign.lower(), origin
            blank = False
            continue
        for part in unicodedata.normalize("NFKD", sign).casefold():
            if not unicodedata.combining(part):
                yield part, origin
                blank = False
