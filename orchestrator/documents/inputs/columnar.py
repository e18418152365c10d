"""Rows of a Parquet file, a group of rows at a time, with pyarrow (the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from orchestrator.documents.inputs.rows import Columns, Row
from orchestrator.documents.inputs.separated import check_column
from orchestrator.documents.lines import MIB, Unfit
from orchestrator.errors import InvalidRequest

ROWS_AT_ONCE: Final = 256
MAX_CELL_BYTES: Final = 32 * MIB
MAX_COLUMN_BYTES: Final = 1024 * MIB
"""Of one column in one group of rows, unpacked: a writer's usual group has 128 MiB in all its columns."""
_BUFFER_BYTES: Final = MIB


def check_columns(stream: BinaryIO, columns: Columns) -> tuple[str, ...]:
    """Which of the columns hold texts; raises InvalidRequest where there is none of a name, or the documents' own is not one."""
    schema = _opened(stream).schema_arrow
    for name in columns.names:
        check_column(name, list(schema.names))
    texts = tuple(name for name in columns.names if _is_text(schema.field(name).type))
    if columns.content not in texts:
        kind = str(schema.field(columns.content).type)[:80]
        raise InvalidRequest(
            f"The column {columns.content!r} holds {kind}, not text. Name a column of strings, or convert it."
        )
    return texts


def read_rows(stream: BinaryIO, columns: Columns) -> Iterator[Row]:
    """The rows; of a group that cannot be read, one that says so. Raises InvalidRequest and Unfit as `check_columns`."""
    texts = check_columns(stream, columns)
    stream.seek(0)
    file = _opened(stream, texts)
    after = 0
    for group in range(file.num_row_groups):
        yield from _group(file, group, columns, after)
        after += file.metadata.row_group(group).num_rows


def _is_text(kind: Any) -> bool:
    pyarrow, _ = libraries()
    types = pyarrow.types
    inner = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner))


def _opened(stream: BinaryIO, repeated: tuple[str, ...] = ()) -> Any:
    """A file whose columns of these names hold texts that may repeat."""
    pyarrow, parquet = libraries()
    try:
        # Texts that repeat stay as they are in the file: one that stands in a million rows is one in memory.
        return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=list(repeated))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Unfit(
            "unreadable_file", f"It is no Parquet file, or a broken one ({type(error).__name__}). Write it anew."
        ) from error


def _group(file: Any, group: int, columns: Columns, after: int) -> Iterator[Row]:
    """The rows of a group; `after` is how many came before."""
    pyarrow, _ = libraries()
    number = after
    try:
        _check_size(file, group, columns)
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=list(columns.names)):
            contents = batch.column(columns.content)
            ids = None if columns.id is None else batch.column(columns.id)
            for place in range(len(contents)):
                number += 1
                yield _row(number, contents[place], None if ids is None else ids[place])
    except Unfit as unfit:
        yield Row(number + 1, unfit=unfit)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        last = after + file.metadata.row_group(group).num_rows
        message = f"Rows {number + 1:,} to {last:,} cannot be read ({type(error).__name__}). Write the file anew."
        yield Row(number + 1, unfit=Unfit("unreadable_file", message))


def _check_size(file: Any, group: int, columns: Columns) -> None:
    about = file.metadata.row_group(group)
    for place in range(about.num_columns):
        column = about.column(place)
        if column.path_in_schema in columns.names and column.total_uncompressed_size > MAX_COLUMN_BYTES:
            raise Unfit(
                "file_too_large",
                f"A group of its rows has over {MAX_COLUMN_BYTES:,} bytes. Write the file anew, with smaller row groups.",
            )


def _row(number: int, content: Any, named: Any) -> Row:
    value = content.value if hasattr(content, "dictionary") else content
    if value is None or not value.is_valid:
        return Row(number, None, _id(named))
    if len(value.as_buffer()) > MAX_CELL_BYTES:
        message = f"Row {number} has over {MAX_CELL_BYTES:,} bytes. Split it."
        return Row(number, id=_id(named), unfit=Unfit("row_too_large", message))
    try:
        return Row(number, value.as_py(), _id(named))
    except UnicodeDecodeError:
        message = f"Row {number} is no valid UTF-8. Write the column as text."
        return Row(number, id=_id(named), unfit=Unfit("malformed_row", message))


def _id(named: Any) -> object:
    """What stands in the column with the ids; nothing where that is no text, or too long to be a name."""
    if named is None:
        return None
    value = named.value if hasattr(named, "dictionary") else named
    if value is None or not value.is_valid or (hasattr(value, "as_buffer") and len(value.as_buffer()) > MIB):
        return None
    try:
        found: object = value.as_py()
    except UnicodeDecodeError:
        return None
    return found


def libraries() -> tuple[Any, Any]:
    """Both parts of pyarrow that are needed; raises InvalidRequest where they are not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidRequest(
            "Parquet needs pyarrow, which is not installed. Install it: pip install 'rightsize[parquet]', or convert the table "
            "to CSV."
        ) from None
    return pa, pq
