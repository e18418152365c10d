"""A table in which each row is a document: which tables there are, and how one is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.documents.files import open_regular
from orchestrator.documents.inputs import jsonlines, separated
from orchestrator.documents.inputs.document import Input, refused
from orchestrator.documents.inputs.rows import Columns, Row, inputs_from
from orchestrator.documents.inputs.spool import Spool
from orchestrator.documents.lines import Unfit

TABS: Final = frozenset({".tsv"})
SEPARATED: Final = frozenset({".csv"}) | TABS
JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
PARQUET: Final = frozenset({".parquet"})
SUFFIXES: Final = SEPARATED | JSON_LINES | PARQUET


def is_table(path: Path) -> bool:
    """Whether a file is one with columns, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def from_table(path: Path, columns: Columns, spool: Spool) -> Iterator[Input]:
    """Each row of a table as a document; raises InvalidRequest where it lacks one of the columns."""
    try:
        with open_regular(path, follow=True) as stream:
            yield from inputs_from(_rows(stream, path, columns), columns, path, spool)
    except Unfit as unfit:
        yield refused(path.name, unfit)


def check_table(path: Path, columns: Columns) -> None:
    """Raise InvalidRequest where a table lacks one of the columns; what else is wrong with it is told when it is read."""
    suffix = path.suffix.lower()
    with open_regular(path, follow=True) as stream:
        if suffix in SEPARATED:
            separated.check_header(stream, columns, tabs=suffix in TABS)
        elif suffix in PARQUET:
            from orchestrator.documents.inputs import columnar

            columnar.check_columns(stream, columns)


def _rows(stream: BinaryIO, path: Path, columns: Columns) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix in SEPARATED:
        return separated.read_rows(stream, columns, tabs=suffix in TABS)
    if suffix in JSON_LINES:
        return jsonlines.read_rows(stream, columns)
    from orchestrator.documents.inputs import columnar  # pyarrow comes with an extra, and is slow to import

    return columnar.read_rows(stream, columns)
