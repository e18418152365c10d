"""A row of a table as a document: its text, or the file that it names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from orchestrator.documents.inputs.beneath import checked_name, open_beneath
from orchestrator.documents.inputs.document import Input, refused
from orchestrator.documents.inputs.spool import Spool, kept
from orchestrator.documents.lines import Unfit

SMALL_BYTES: Final = 64 * 1024
"""A text over this size waits on the disk for its turn: hundreds of rows are hashed at once."""
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are read."""

    content: str
    is_path: bool
    id: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return (self.content,) if self.id in (None, self.content) else (self.content, str(self.id))


@dataclass(frozen=True, slots=True)
class Row:
    """What stands in the columns of a row; or why that cannot be told."""

    number: int
    """Its place in the table, from 1; of JSONL its line."""
    content: object = None
    id: object = None
    unfit: Unfit | None = None


def inputs_from(rows: Iterator[Row], columns: Columns, table: Path, spool: Spool) -> Iterator[Input]:
    """Each row of a table as a document; a table without rows is one that says so."""
    is_empty = True
    for row in rows:
        is_empty = False
        yield _input_from(row, columns, table, spool)
    if is_empty:
        yield refused(table.name, Unfit("empty_file", "The table has no rows. Give it some, or leave it out."))


def _input_from(row: Row, columns: Columns, table: Path, spool: Spool) -> Input:
    place = f"{table.name}#{row.number}"
    given = str(row.id).strip() if isinstance(row.id, str | int) and not isinstance(row.id, bool) else ""
    try:
        if row.unfit is not None:
            raise row.unfit
        text = _filled(row, columns.content)
        if not columns.is_path:
            return _text(given or place, _encoded(text, columns.content), spool)
        path = checked_name(text.strip())
    except Unfit as unfit:
        return refused(given or place, unfit)
    return Input(given or path, partial(open_beneath, table.parent, path))


def _filled(row: Row, column: str) -> str:
    shown = repr(column[:_SHOWN])
    if row.content is None or (isinstance(row.content, str) and not row.content.strip()):
        raise Unfit("malformed_row", f"The column {shown} of row {row.number} is empty. Fill it, or leave the row out.")
    if not isinstance(row.content, str):
        raise Unfit("malformed_row", f"The column {shown} of row {row.number} is no text. Put a string there.")
    return row.content


def _encoded(text: str, column: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unfit(
            "malformed_row",
            f"The column {column[:_SHOWN]!r} holds half of a surrogate pair, which is no character. Remove it.",
        ) from None


def _text(name: str, data: bytes, spool: Spool) -> Input:
    if len(data) > SMALL_BYTES:
        return kept(name, spool.keep([data]))
    return Input(name, partial(io.BytesIO, data))
