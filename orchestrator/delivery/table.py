"""Result lines as rows of a table, and the table as CSV.

A row holds the document, the fields of its answer, for each field how sure it is and where it was found, and what it took. A field keeps
its name; where a column of ours would have the same, ours gets `rightsize.` before it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.delivery import columns as by
from orchestrator.delivery.answers import Evidence, Line, Result, result_of
from orchestrator.delivery.columns import Column, Schema

BEFORE: Final = ("name", "hash")
AFTER: Final = ("review", "tier", "cost_usd", "reused", "error_code", "error_message")
BOM: Final = "\ufeff"
_FORMULA: Final = frozenset("=+-@\t\r\n＝＋－＠")
"""What begins a formula in a spreadsheet; the wide signs are read as the narrow ones there."""
_NUMBER: Final = re.compile(r"-\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?", re.ASCII)


class TextFile(Protocol):
    """Where text goes."""

    def write(self, text: str, /) -> object:
        """Write it."""
        ...


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a table, and how a line becomes a row of it."""

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    """Of all columns, in their order, each once."""

    @classmethod
    def of(cls, schema: Schema | None) -> Table:
        """The table of a task's schema; without a schema, the answer is one column of text."""
        columns = by.columns_of(schema)
        fields = _each_once([column.name for column in columns], set())
        taken = set(fields)
        before, after = (_each_once([_ours(name, taken) for name in some], taken) for some in (BEFORE, AFTER))
        evidence = _each_once([f"{name}.{what}" for name in fields for what in ("confidence", "source")], taken)
        return cls(columns, (*before, *fields, *evidence, *after))

    def row(self, line: Line) -> list[Any]:
        """A line as a row: texts, numbers, truths, lists and objects as they are, and None where there is nothing."""
        result = result_of(line)
        evidence = [column.evidence(result) for column in self.columns]
        row: list[Any] = [result.document.name, result.document.hash]
        row += [column.value(result) for column in self.columns]
        for one in evidence:
            row += [by.lowest(one), by.source(one) or None]
        failure = result.failure
        return [
            *row,
            _review(self.columns, evidence),
            result.tier or None,
            result.cost_usd,
            result.reused,
            failure and failure.code,
            failure and _message(result),
        ]


def write_csv(
    lines: Iterable[Line], schema: Schema | None, file: TextFile, *, bom: bool = False, delimiter: str = ","
) -> int:
    """Write result lines as CSV (RFC 4180) while they come, one at a time; returns how many there were.

    `file` takes text: open it as UTF-8 with newline="". With `bom` it begins with the mark by which Excel knows UTF-8.

    Formulas: a cell whose text, after any spaces, begins with = + - @ (or their wide forms), a tab or a line end would be run by a spreadsheet
    as a formula, and gets an apostrophe before it. Numbers of the answer's JSON are written as they are, and so is a text that is a
    number with a minus and nothing else, such as -5.20 or -1,234.50. A text with a plus, such as a telephone number, gets the apostrophe.
    """
    table = Table.of(schema)
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
    if bom:
        file.write(BOM)
    writer.writerow([safe(name) for name in table.names])
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - how many there were is what is returned
        writer.writerow([_cell(value) for value in table.row(line)])
    return count


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula; see `write_csv`."""
    begin = text.lstrip(" \u00a0")[:1]
    if begin not in _FORMULA or not begin or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = by.written(value)
    return safe(text) if isinstance(value, str | list | dict) else text


def _review(columns: Sequence[Column], evidence: Sequence[tuple[Evidence, ...]]) -> str | None:
    told = [(column.name, by.reviews(one)) for column, one in zip(columns, evidence, strict=True)]
    return by.JOINED_BY.join(f"{name}: {', '.join(why)}" for name, why in told if why) or None


def _message(result: Result) -> str:
    failure = result.failure
    if failure is None:
        return ""
    where = by.JOINED_BY.join(f"{one.pointer}: {one.message}" for one in failure.violations)
    return f"{failure.message} ({where})" if where else failure.message


def _ours(name: str, taken: set[str]) -> str:
    return f"rightsize.{name}" if name in taken else name


def _each_once(names: Sequence[str], taken: set[str]) -> list[str]:
    """The names, each once and none of those taken: what comes again is numbered."""
    made = []
    for name in names:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        made.append(free)
    return made
