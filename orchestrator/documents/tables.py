"""Rows of a CSV or TSV file: one request for each row below the header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.delimited import MAX_RECORD_BYTES, Records, ragged, text_of
from orchestrator.documents.jsonl import TEXT_KEYS
from orchestrator.documents.lines import Draft, RowOptions, Unfit, body_for, checked_text

EXPECTED_KEYS: Final = ("expected", "label")


def read_rows(stream: BinaryIO, source: str, options: RowOptions, *, tabs: bool) -> Iterator[Draft]:
    """A draft for every row of a table; where the first row has numbers in it, it is data and not a header."""
    try:
        records = _begun(stream, options, tabs=tabs)
    except Unfit as unfit:
        yield Draft(source, unfit, source=source)
        return
    header: list[str] | None = None
    number = 0
    for fields in records:
        if header is None and isinstance(fields, list):
            header, is_data = _header(fields)
            if not is_data:
                continue
        number += 1
        content = _content(fields, header or [], records.where, options)
        yield Draft(f"{source}#{number}", content, number=number, source=source)
    if not number:
        message = "The table has no rows below its header." if header else "The file is empty."
        yield Draft(source, Unfit("empty_file", f"{message} Give it a header row and rows."), source=source)


def _begun(stream: BinaryIO, options: RowOptions, *, tabs: bool) -> Records:
    """The rows of a table; raises Unfit where its first line cannot be one of a table."""
    records = Records(stream, tabs=tabs, most_bytes=options.max_row_bytes)
    if records.first is not None and records.first.too_long:
        message = f"Line 1 has over {MAX_RECORD_BYTES:,} bytes. Is this a table? Give it a header row."
        raise Unfit("row_too_large", message)
    if records.first is not None:
        text_of(records.first)
    return records


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
        return ragged(where, fields, header)
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
