"""Rows of a CSV or TSV file by the names of its columns, one at a time, whatever is wrong with the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.delimited import Records, ragged
from orchestrator.documents.inputs.rows import Columns, Row
from orchestrator.documents.lines import Unfit
from orchestrator.errors import InvalidRequest

_MOST_SHOWN: Final = 20


def read_rows(stream: BinaryIO, columns: Columns, *, tabs: bool) -> Iterator[Row]:
    """The rows below the header that are not blank.

    Raises InvalidRequest for a header that lacks one of the columns, and Unfit for one that cannot be read.
    """
    records = Records(stream, tabs=tabs, wanted=columns.names)
    header = _header(records, columns.names)
    content, named = header.index(columns.content), None if columns.id is None else header.index(columns.id)
    for number, fields in enumerate(records, 1):
        if isinstance(fields, Unfit):
            yield Row(number, unfit=fields)
        elif len(fields) != len(header):
            yield Row(number, unfit=ragged(records.where, fields, header))
        else:
            yield Row(number, fields[content], None if named is None else fields[named])


def check_header(stream: BinaryIO, columns: Columns, *, tabs: bool) -> None:
    """Raise InvalidRequest where a table lacks one of the columns."""
    _header(Records(stream, tabs=tabs, wanted=columns.names), columns.names)


def _header(records: Records, wanted: tuple[str, ...]) -> list[str]:
    fields = next(records, None)
    if fields is None:
        raise Unfit("empty_file", "The table is empty. Give it a header row and rows.")
    if isinstance(fields, Unfit):
        raise fields
    names = [field.strip() for field in fields]
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
