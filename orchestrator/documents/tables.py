"""Rows of a CSV or TSV file: one request for each row below the header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.jsonl import TEXT_KEYS
from orchestrator.documents.lines import MIB, Draft, RowOptions, Unfit, body_for, checked_text
from orchestrator.documents.newlines import Line, lines_of

DELIMITERS: Final = (",", ";", "\t", "|")
EXPECTED_KEYS: Final = ("expected", "label")
SAMPLE_LINES: Final = 20
MAX_RECORD_BYTES: Final = 4 * MIB
"""A row of a table, its line breaks in quotes included: an opening quote that is never closed ends here."""


class _Lines:
    """Feeds csv.reader line by line, and knows how far the row at hand reaches.

    It raises Unfit in the reader's place for a line that cannot be text or a row that has no end.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.ahead: list[Line] = []
        self.first = self.last = self._bytes = 0

    def start_row(self) -> None:
        self.first = self._bytes = 0

    def peek(self, count: int) -> list[Line]:
        while len(self.ahead) < count and (line := next(self._lines, None)):
            self.ahead.append(line)
        return self.ahead[:count]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.ahead.pop(0) if self.ahead else next(self._lines)
        self.first, self.last = self.first or line.number, line.number
        self._bytes += line.too_long or len(line.data)
        if line.too_long or self._bytes > MAX_RECORD_BYTES:
            raise Unfit(
                "row_too_large", f"{self.where} has over {MAX_RECORD_BYTES:,} bytes. Is a quote left open? Close it."
            )
        return text_of(line.data, f"Line {line.number}") + "\n"

    @property
    def where(self) -> str:
        """The lines of the row at hand, as people read it."""
        return f"Line {self.first}" if self.first == self.last else f"The row of lines {self.first} to {self.last}"


def text_of(data: bytes, what: str) -> str:
    """Bytes as UTF-8 text; raises Unfit that names the place where they are none."""
    if b"\0" in data:
        raise Unfit("malformed_row", f"{what} has NUL bytes: it is binary, or UTF-16. Save it as text in UTF-8.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unfit(
            "malformed_row", f"{what} is no valid UTF-8 at byte {error.start + 1}. Save the file as UTF-8."
        ) from None


def read_rows(stream: BinaryIO, source: str, options: RowOptions, *, tabs: bool) -> Iterator[Draft]:
    """A draft for every row of a table; where the first row has numbers in it, it is data and not a header."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    lines = _Lines(lines_of(stream, min(options.max_row_bytes, MAX_RECORD_BYTES)))
    try:
        sample = [text_of(line.data, f"Line {line.number}") for line in lines.peek(1)]
        sample += [line.data.decode("utf-8", "replace") for line in lines.peek(SAMPLE_LINES)[1:]]
        if lines.ahead and lines.ahead[0].too_long:
            raise Unfit(
                "row_too_large", f"Line 1 has over {MAX_RECORD_BYTES:,} bytes. Is this a table? Give it a header row."
            )
    except Unfit as unfit:
        yield Draft(source, unfit, source=source)
        return
    delimiter = "\t" if tabs else _delimiter(sample)
    header: list[str] | None = None
    number = 0
    for fields in _records(lines, delimiter):
        if header is None and isinstance(fields, list):
            header, is_data = _header(fields)
            if not is_data:
                continue
        number += 1
        yield Draft(
            f"{source}#{number}", _content(fields, header or [], lines.where, options), number=number, source=source
        )
    if not number:
        message = "The table has no rows below its header." if header else "The file is empty."
        yield Draft(source, Unfit("empty_file", f"{message} Give it a header row and rows."), source=source)


def _records(lines: _Lines, delimiter: str) -> Iterator[list[str] | Unfit]:
    """The fields of each row that is not blank, or what is wrong with it; reading goes on at the next line."""
    while True:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            lines.start_row()
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield fields
                lines.start_row()
            return
        except csv.Error as error:
            yield Unfit("malformed_row", f"{lines.where} cannot be read as CSV: {error}. Close and double its quotes.")
        except Unfit as unfit:
            yield unfit


def _delimiter(sample: list[str]) -> str:
    """The delimiter that cuts the first lines into the same number of columns most often, then into most columns."""

    def fit(delimiter: str) -> tuple[int, int]:
        widths = [len(line.split(delimiter)) for line in sample if line.strip()]
        width = widths[0] if widths else 1
        return (sum(one == width for one in widths) if width > 1 else 0), width

    return max(DELIMITERS, key=fit)


def _header(fields: list[str]) -> tuple[list[str], bool]:
    """The columns' names, and whether the first row is data all the same: a number is no name of a column."""
    names = [field.strip() for field in fields]
    if any(_is_number(name) for name in names):
        return [f"column {place}" for place in range(1, len(names) + 1)], True
    return [name or f"column {place}" for place, name in enumerate(names, 1)], False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _content(
    fields: list[str] | Unfit, header: list[str], where: str, options: RowOptions
) -> dict[str, object] | Unfit:
    if isinstance(fields, Unfit):
        return fields
    if len(fields) != len(header):
        return Unfit(
            "malformed_row",
            f"{where} has {len(fields)} columns, the header {len(header)}. Quote fields with a delimiter in them.",
        )
    row = {name.lower(): field for name, field in zip(header, fields, strict=True)}
    key = next((key for key in TEXT_KEYS if key in row), None)
    text = row[key] if key else "\n".join(f"{name}: {field}" for name, field in zip(header, fields, strict=True))
    try:
        body = body_for(checked_text(text, options, f"The text of {where[0].lower()}{where[1:]}"), options)
    except Unfit as unfit:
        return unfit
    if key and (expected := next((row[name] for name in EXPECTED_KEYS if row.get(name)), None)):
        body["metadata"] = {"expected": expected}
    return body
