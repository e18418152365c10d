"""Rows of a JSONL file by the keys of its objects, one line at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import orjson

from orchestrator.documents.inputs.rows import Columns, Row
from orchestrator.documents.lines import MIB, Unfit
from orchestrator.documents.newlines import Line, lines_of

MAX_LINE_BYTES: Final = 32 * MIB


def read_rows(stream: BinaryIO, columns: Columns) -> Iterator[Row]:
    """The lines that are not blank."""
    for line in lines_of(stream, MAX_LINE_BYTES):
        if line.too_long or line.data.strip():
            yield _row(line, columns)


def _row(line: Line, columns: Columns) -> Row:
    try:
        value = _parsed(line)
    except Unfit as unfit:
        return Row(line.number, unfit=unfit)
    return Row(line.number, value.get(columns.content), None if columns.id is None else value.get(columns.id))


def _parsed(line: Line) -> dict[str, object]:
    where = f"Line {line.number}"
    if line.too_long:
        raise Unfit("row_too_large", f"{where} has {line.too_long:,} bytes, at most {MAX_LINE_BYTES:,}. Split it.")
    try:
        value = orjson.loads(line.data)
    except orjson.JSONDecodeError as error:
        raise Unfit(
            "malformed_row", f"{where} is no JSON: {error.msg} at byte {error.pos + 1}. Give one object on each line."
        ) from None
    if not isinstance(value, dict):
        raise Unfit("malformed_row", f"{where} is no JSON object. Give one object on each line.")
    return value
