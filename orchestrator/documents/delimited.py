"""Records of a CSV or TSV, one at a time, whatever ends their lines and whatever is wrong with the one before."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, Self

from orchestrator.documents.lines import MIB, Unfit
from orchestrator.documents.newlines import Line, lines_of

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_LINES: Final = 20
MAX_RECORD_BYTES: Final = 4 * MIB
"""A row of a table, its line breaks in quotes included: an opening quote that is never closed ends here."""


class Records:
    """The rows of a table that are not blank, each its fields or what is wrong with it; reading goes on at the next line.

    An iterator. `where` tells the lines of the row that it gave last.
    """

    def __init__(
        self, stream: BinaryIO, *, tabs: bool, wanted: Sequence[str] = (), most_bytes: int = MAX_RECORD_BYTES
    ) -> None:
        """`tabs` says that nothing else parts the columns; `wanted` are names of columns, by which that can be told.

        Raises Unfit where the file cannot be read.
        """
        # The bound is that of the row, which is told better: a field can only come to as much with its line ends.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_RECORD_BYTES))
        self._feed = _Feed(lines_of(stream, min(most_bytes, MAX_RECORD_BYTES)))
        self.first = self._feed.first_line()
        """The first line as it is, without its end; None for an empty file."""
        self._delimiter = "\t" if tabs else _delimiter(self._feed.sample(), wanted)
        self._rows = self._read()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[str] | Unfit:
        return next(self._rows)

    @property
    def where(self) -> str:
        """The lines of the row at hand, as people read it."""
        return self._feed.where

    def _read(self) -> Iterator[list[str] | Unfit]:
        feed = self._feed
        while True:
            reader = csv.reader(feed, delimiter=self._delimiter, strict=True)
            try:
                feed.start_row()
                for fields in reader:
                    if any(field.strip() for field in fields):
                        yield fields
                    feed.start_row()
                return
            except csv.Error as error:
                yield Unfit(
                    "malformed_row", f"{feed.where} cannot be read as CSV: {error}. Close and double its quotes."
                )
            except Unfit as unfit:
                yield unfit


class _Feed:
    """Gives csv.reader its lines, and knows how far the row at hand reaches.

    It raises Unfit in the reader's place for a line that cannot be text or a row that has no end.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._ahead: list[Line] = []
        self._first = self._last = self._bytes = 0

    def start_row(self) -> None:
        """The next line begins a row."""
        self._first = self._bytes = 0

    def first_line(self) -> Line | None:
        """The line that comes next, which stays where it is."""
        return next(iter(self._peek(1)), None)

    def sample(self) -> list[str]:
        """The lines that come next, as far as they are text; they stay where they are."""
        return [line.data.decode("utf-8", "replace") for line in self._peek(SAMPLE_LINES)]

    def _peek(self, count: int) -> list[Line]:
        while len(self._ahead) < count and (line := next(self._lines, None)):
            self._ahead.append(line)
        return self._ahead[:count]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._ahead.pop(0) if self._ahead else next(self._lines)
        self._first, self._last = self._first or line.number, line.number
        self._bytes += line.too_long or len(line.data)
        if line.too_long or self._bytes > MAX_RECORD_BYTES:
            raise Unfit(
                "row_too_large", f"{self.where} has over {MAX_RECORD_BYTES:,} bytes. Is a quote left open? Close it."
            )
        return text_of(line) + "\n"

    @property
    def where(self) -> str:
        """The lines of the row at hand, as people read it."""
        return f"Line {self._first}" if self._first == self._last else f"The row of lines {self._first} to {self._last}"


def text_of(line: Line) -> str:
    """A line as UTF-8 text; raises Unfit that names the place where it is none."""
    if b"\0" in line.data:
        message = f"Line {line.number} has NUL bytes: it is binary, or UTF-16. Save it as text in UTF-8."
        raise Unfit("malformed_row", message)
    try:
        return line.data.decode()
    except UnicodeDecodeError as error:
        message = f"Line {line.number} is no valid UTF-8 at byte {error.start + 1}. Save the file as UTF-8."
        raise Unfit("malformed_row", message) from None


def ragged(where: str, fields: Sequence[str], header: Sequence[str]) -> Unfit:
    """That a row has another number of fields than there are columns."""
    message = f"{where} has {len(fields)} columns, the header {len(header)}. Quote fields with a delimiter in them."
    return Unfit("malformed_row", message)


def _delimiter(sample: Sequence[str], wanted: Sequence[str]) -> str:
    """The delimiter that cuts the first line into most of the columns that are wanted.

    Then the one that cuts the first lines into the same number of columns most often, then into most columns.
    """

    def fit(delimiter: str) -> tuple[int, int, int]:
        widths = [len(line.split(delimiter)) for line in sample if line.strip()]
        width = widths[0] if widths else 1
        return _found(sample[:1], delimiter, wanted), sum(one == width for one in widths) if width > 1 else 0, width

    return max(DELIMITERS, key=fit)


def _found(first: Sequence[str], delimiter: str, wanted: Sequence[str]) -> int:
    """How many of the columns that are wanted a line names."""
    names = [field.strip() for field in next(csv.reader(first, delimiter=delimiter), [])] if wanted else []
    return sum(name in names for name in wanted)
