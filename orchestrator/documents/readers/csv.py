"""Tables in text files: CSV and TSV, with whatever delimiter, quotes and encoding."""

from __future__ import annotations

import collections
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.documents.readers.encoding import text_of
from orchestrator.documents.readers.writing import Writer, clean
from orchestrator.documents.reading import Inner, Limits, Page, Reading

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_LINES: Final = 50
SAMPLE_CHARS: Final = 64 * 1024

_QUOTED: Final = {
    quote: re.compile(rf"(?:^|[,;\t|]) *{quote}[^{quote}\n]*{quote} *(?=[,;\t|]|$)", re.MULTILINE) for quote in "\"'"
}


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The rows of a table as Markdown; the first row is the header. Cells are data, formulas among them too."""
    del within
    found = text_of(data)
    writer = Writer(limits)
    if found.note:
        writer.tell(found.note)
    text = clean(found.text)
    sample = text[:SAMPLE_CHARS]
    quote = "'" if not _QUOTED['"'].search(sample) and _QUOTED["'"].search(sample) else '"'
    delimiter = _delimiter(sample, quote)
    csv.field_size_limit(max(limits.max_chars, csv.field_size_limit()))
    writer.table(_rows(text, delimiter, quote, writer))
    kind = "tsv" if delimiter == "\t" else "csv"
    return Reading(kind, (Page(1, writer.cut()),), notes=tuple(writer.notes))


def _delimiter(sample: str, quote: str) -> str:
    """The delimiter that cuts the most lines into the same number of columns as the first, then into most columns.

    Tabs that cut every line alike are taken before any other: nobody types them by chance.
    """
    bare = re.sub(f"{quote}[^{quote}]*{quote}", "", sample)
    lines = [line for line in bare.split("\n")[:SAMPLE_LINES] if line.strip()]

    def fit(delimiter: str) -> tuple[int, int]:
        widths = [line.count(delimiter) for line in lines]
        first = widths[0] if widths else 0
        return (sum(width == first for width in widths) if first else 0), sum(widths)

    if fit("\t")[0] == len(lines) > 0:
        return "\t"
    return max(DELIMITERS, key=fit)


def _ends_within(text: str, delimiter: str, quote: str) -> bool:
    """Whether a quote is never closed, so that the rest of the table would be one cell."""
    end = "\x01"  # is in no text that is clean
    rows = csv.reader(io.StringIO(f"{text}\n{end}"), delimiter=delimiter, quotechar=quote)
    return collections.deque(rows, maxlen=1).pop() != [end]


def _rows(text: str, delimiter: str, quote: str, writer: Writer) -> Iterator[Sequence[str]]:
    """The rows that are not blank, as ragged as they are; where a quote is never closed all are read as letters."""
    if text.count(quote) % 2 and _ends_within(text, delimiter, quote):
        writer.tell("A quote in it is never closed: quotes were read as part of the text.")
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, quotechar=quote)
    for row in rows:
        if any(field.strip() for field in row):
            yield row
