"""The cells of a sheet as tables of Markdown: its used areas, and its values as they are plainly written. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from orchestrator.documents.readers.writing import Writer

EXACT: Final = 1e15
"""Up to here whole numbers have all their digits in a sheet."""
TINY: Final = 1e-15
HUGE: Final = 1e21
"""Beyond these a number is easier to read with its exponent."""


def shown(value: object) -> str:
    """A cell's value: dates as ISO has them, numbers without exponents and with the 15 digits that sheets keep."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return _number(value)
        case dt.datetime():
            return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ", "seconds")
        case dt.timedelta():
            return _duration(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < EXACT:
        return str(int(value))
    text = f"{value:.15g}"
    return format(Decimal(text), "f") if "e" in text and TINY < abs(value) < HUGE else text


def _duration(value: dt.timedelta) -> str:
    seconds = round(value.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def write_areas(rows: Iterable[Sequence[str]], writer: Writer) -> None:
    """Write a sheet: each run of rows that are not empty is a table, without its empty columns; a single cell is a paragraph."""
    for area in _areas(rows, writer):
        used = sorted({place for row in area for place, text in enumerate(row) if text})
        if len(area) == 1 and len(used) == 1:
            writer.paragraph(area[0][used[0]])
        else:
            writer.table([row[place] if place < len(row) else "" for place in used] for row in area)


def _areas(rows: Iterable[Sequence[str]], writer: Writer) -> Iterator[list[Sequence[str]]]:
    """The runs of rows; what is collected is bounded by what may still be written."""
    area: list[Sequence[str]] = []
    chars = 0
    for row in rows:
        if any(map(str.strip, row)):
            area.append(_trimmed(row))
            chars += sum(map(len, row))
            writer.has_room(chars)
        elif area:
            yield area
            area, chars = [], 0
    if area:
        yield area


def _trimmed(row: Sequence[str]) -> Sequence[str]:
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]
