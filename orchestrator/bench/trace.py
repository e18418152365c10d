"""Reads a load trace: a CSV file with the arrival of each request and its tokens, in and out."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator.contracts import Tier
from orchestrator.documents.files import open_regular
from orchestrator.documents.newlines import Line, lines_of
from orchestrator.errors import InvalidRequest

MAX_FILE_BYTES: Final = 1 << 30
MAX_LINE_BYTES: Final = 1 << 16
MAX_ROWS: Final = 1_000_000
MAX_INPUT_TOKENS: Final = 200_000
MAX_OUTPUT_TOKENS: Final = 100_000

NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("timestamp", "arrival", "arrivals", "arrivaltime", "arrivaltimestamp", "arrivedat", "time", "starttime"),
        "arrival",
    ),
    **dict.fromkeys(
        ("contexttokens", "inputtokens", "inputlength", "inputlen", "prompttokens", "requesttokens",
         "numprefilltokens", "input"), "input",
    ),
    **dict.fromkeys(
        ("generatedtokens", "outputtokens", "outputlength", "outputlen", "completiontokens", "responsetokens",
         "numdecodetokens", "output"), "output",
    ),
    "tier": "tier",
}  # fmt: skip
"""What real traces call our columns, in small letters without other signs."""
NEEDED: Final = ("arrival", "input", "output")
UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace."""

    at_s: float
    """After the first one."""
    input_tokens: int
    output_tokens: int
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests of a trace in the order of their arrival, and what could not be used of it."""

    arrivals: tuple[Arrival, ...]
    unfit: int = 0
    """Rows that could not be read."""
    problem: str = ""
    """What is wrong with the first of them."""

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return self.arrivals[-1].at_s if self.arrivals else 0.0


class _Unfit(Exception):
    """A row that is none; its text says why."""


def read_trace(path: Path, limit: int | None = None) -> Trace:
    """Read a trace, or its first `limit` rows; rows that cannot be read are counted and the first is explained.

    Raises InvalidRequest where the file is none, is too large, or has not one row.
    """
    if not path.exists():
        raise InvalidRequest(f"There is no file {path}. `examples/trace.csv` shows what a trace looks like.")
    with open_regular(path, follow=True) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path} is over {MAX_FILE_BYTES >> 20} MiB: cut it, for example with head.")
        return _read(lines_of(file, MAX_LINE_BYTES), str(path), min(limit or MAX_ROWS, MAX_ROWS))


def _read(lines: Iterator[Line], source: str, most: int) -> Trace:
    first = next((line for line in lines if line.data.strip() or line.too_long), None)
    if first is None:
        raise InvalidRequest(f"{source} is empty. It needs a header and a row for each request.")
    text = first.data.decode("utf-8", "replace").removeprefix("\ufeff")
    delimiter = max(",;\t|", key=text.count)
    columns, unit_s, is_row = _columns(_fields(text, delimiter), source)
    found: list[Arrival] = []
    unfit, problem = 0, ""
    for line in _after(first, lines, is_row=is_row):
        if len(found) >= most:
            break
        try:
            found.append(_arrival(line, delimiter, columns, unit_s))
        except _Unfit as error:
            unfit += 1
            problem = problem or f"line {line.number}: {error}"
    if not found:
        raise InvalidRequest(f"{source} has no row that can be used; {problem or 'there is none below its header'}.")
    start = min(one.at_s for one in found)
    shifted = (replace(one, at_s=one.at_s - start) for one in found)
    return Trace(tuple(sorted(shifted, key=lambda one: one.at_s)), unfit, problem)


def _after(first: Line, lines: Iterator[Line], *, is_row: bool) -> Iterator[Line]:
    if is_row:
        yield first
    yield from (line for line in lines if line.too_long or line.data.strip())


def _columns(header: Sequence[str], source: str) -> tuple[dict[str, int], float, bool]:
    """Which column is what, the unit of the arrival, and whether the first line is a row already."""
    if len(header) >= len(NEEDED) and all(_number(field) is not None for field in header[:3]):
        return {name: place for place, name in enumerate(NEEDED)}, 1.0, True
    places: dict[str, int] = {}
    unit_s = 1.0
    for place, field in enumerate(header):
        name, unit = _name_of(field)
        if name is not None and name not in places:
            places[name] = place
            unit_s = UNITS[unit] if name == "arrival" else unit_s
    if missing := [name for name in NEEDED if name not in places]:
        raise InvalidRequest(
            f"{source} has no column for {', '.join(missing)}. It has: {', '.join(header)[:200]}. Name them arrival "
            "(seconds or times of day), input_tokens and output_tokens; TIMESTAMP, ContextTokens and GeneratedTokens do too."
        )
    return places, unit_s, False


def _name_of(field: str) -> tuple[str | None, str]:
    """Our name of a column, and the unit that stands at its end: `arrival_ms` counts milliseconds."""
    plain = field.strip().lower()
    unit = next((unit for unit in UNITS if re.search(rf"[ _(\[]{unit}[)\]]?$", plain)), "s")
    bare = re.sub(rf"[ _(\[]{unit}[)\]]?$", "", plain)
    return NAMES.get(re.sub(r"[^a-z]", "", bare)), unit


def _arrival(line: Line, delimiter: str, columns: Mapping[str, int], unit_s: float) -> Arrival:
    if line.too_long:
        raise _Unfit(f"it is over {MAX_LINE_BYTES:,} bytes long")
    fields = _fields(line.data.decode("utf-8", "replace"), delimiter)
    if len(fields) <= max(columns[name] for name in NEEDED):
        raise _Unfit(f"it has {len(fields)} columns")
    place = columns.get("tier", len(fields))
    tier = fields[place].strip().lower() if place < len(fields) else ""
    if tier not in ("", "auto", *Tier):
        raise _Unfit(f"{tier[:40]!r} is no tier: one of auto, {', '.join(Tier)}")
    return Arrival(
        _moment(fields[columns["arrival"]].strip(), unit_s),
        _tokens(fields[columns["input"]], "input", MAX_INPUT_TOKENS),
        max(1, _tokens(fields[columns["output"]], "output", MAX_OUTPUT_TOKENS)),
        Tier(tier) if tier not in ("", "auto") else None,
    )


def _fields(text: str, delimiter: str) -> list[str]:
    with suppress(csv.Error):
        return next(csv.reader([text], delimiter=delimiter), [])
    return []


def _moment(text: str, unit_s: float) -> float:
    """Seconds: of a number in its unit, or of a time of day in any ISO form."""
    number = _number(text)
    if number is not None:
        return number * unit_s
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        raise _Unfit(f"{text[:40]!r} is no time: give seconds, or a time such as 2026-01-31 09:30:00.5") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _tokens(text: str, what: str, most: int) -> int:
    number = _number(text)
    if number is None or number != int(number) or not 0 <= number <= most:
        raise _Unfit(f"{text.strip()[:40]!r} {what} tokens: give a whole number up to {most:,}")
    return int(number)


def _number(text: str) -> float | None:
    with suppress(ValueError):
        number = float(text)
        return number if math.isfinite(number) and abs(number) < 1e15 else None
    return None
