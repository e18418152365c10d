"""Rows of a CSV or TSV file by the names of its columns, one at a time, whatever is wrong with the one before."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.inputs.rows import Columns, Row
from orchestrator.documents.lines import Unfit
from orchestrator.documents.newlines import Line, lines_of
from orchestrator.documents.tables import DELIMITERS, MAX_RECORD_BYTES, text_of
from orchestrator.errors import InvalidRequest

_MOST_SHOWN: Final = 20


class _Feed:
    """Gives csv.reader its lines, and knows which of them make up the row at hand; raises Unfit for one that has no end."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._first = self._last = self._bytes = 0

    def start_row(self) -> None:
        """The next line begins a row."""
        self._first = self._bytes = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._first, self._last = self._first or line.number, line.number
        self._bytes += line.too_long or len(line.data)
        if self._bytes > MAX_RECORD_BYTES:
            raise Unfit(
                "row_too_large", f"{self.where} has over {MAX_RECORD_BYTES:,} bytes. Is a quote left open? Close it."
            )
        return text_of(line.data, f"Line {line.number}") + "\n"

    @property
    def where(self) -> str:
        """The lines of the row, as people read it."""
        return f"Line {self._first}" if self._first == self._last else f"The row of lines {self._first} to {self._last}"


def read_rows(stream: BinaryIO, columns: Columns, *, tabs: bool) -> Iterator[Row]:
    """The rows below the header that are not blank.

    Raises InvalidRequest for a header that lacks one of the columns, and Unfit for one that cannot be read.
    """
    feed, delimiter = _begun(stream, columns.names, tabs=tabs)
    records = _records(feed, delimiter)
    header = _header(records, columns.names)
    content, named = header.index(columns.content), None if columns.id is None else header.index(columns.id)
    for number, fields in enumerate(records, 1):
        if isinstance(fields, Unfit):
            yield Row(number, unfit=fields)
        elif len(fields) != len(header):
            message = f"{feed.where} has {len(fields)} columns, the header {len(header)}. Quote fields with a delimiter in them."
            yield Row(number, unfit=Unfit("malformed_row", message))
        else:
            yield Row(number, fields[content], None if named is None else fields[named])


def check_header(stream: BinaryIO, columns: Columns, *, tabs: bool) -> None:
    """Raise InvalidRequest where a table lacks one of the columns."""
    feed, delimiter = _begun(stream, columns.names, tabs=tabs)
    _header(_records(feed, delimiter), columns.names)


def _begun(stream: BinaryIO, wanted: tuple[str, ...], *, tabs: bool) -> tuple[_Feed, str]:
    """The lines of a table, and its delimiter: the one that cuts the first line into the columns that are wanted."""
    # The bound is that of the row, which is told better: a field can only come to as much with its line ends.
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_RECORD_BYTES))
    lines = lines_of(stream, MAX_RECORD_BYTES)
    first = next(lines, None)
    if first is None:
        return _Feed(lines), ","

    def fit(delimiter: str) -> tuple[int, int]:
        names = _names(next(csv.reader([first.data.decode("utf-8", "replace")], delimiter=delimiter), []))
        return sum(name in names for name in wanted), len(names)

    return _Feed(_again(first, lines)), "\t" if tabs else max(DELIMITERS, key=fit)


def _again(first: Line, rest: Iterator[Line]) -> Iterator[Line]:
    yield first
    yield from rest


def _records(feed: _Feed, delimiter: str) -> Iterator[list[str] | Unfit]:
    """The fields of each row that is not blank, or what is wrong with it; reading goes on at the next line."""
    while True:
        reader = csv.reader(feed, delimiter=delimiter, strict=True)
        try:
            feed.start_row()
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield fields
                feed.start_row()
            return
        except csv.Error as error:
            yield Unfit("malformed_row", f"{feed.where} cannot be read as CSV: {error}. Close and double its quotes.")
        except Unfit as unfit:
            yield unfit


def _header(records: Iterator[list[str] | Unfit], wanted: tuple[str, ...]) -> list[str]:
    fields = next(records, None)
    if fields is None:
        raise Unfit("empty_file", "The table is empty. Give it a header row and rows.")
    if isinstance(fields, Unfit):
        raise fields
    names = _names(fields)
    for name in wanted:
        check_column(name, names)
    return names


def check_column(name: str, names: list[str]) -> None:
    """Raise InvalidRequest where a table has no column of a name, or several."""
    if (count := names.count(name)) == 1:
        return
    known = ", ".join(repr(one[:60]) for one in names[:_MOST_SHOWN])
    if count:
        raise InvalidRequest(f"The table has {count} columns called {name!r}. Give each column a name of its own.")
    raise InvalidRequest(f"The table has no column {name!r}. It has {known or 'none'}: name one of them.")


def _names(fields: list[str]) -> list[str]:
    return [field.strip() for field in fields]
