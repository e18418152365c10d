"""Result lines as a Parquet file, typed by the task's schema.

Types: text is string; integer is int64; number is double, as every reader of JSON has it (a schema does not say how many decimals there are);
boolean is bool; text of the format `date` is date32. Lists of scalars, and objects, are text as in CSV. The cost is decimal128(20, 12), as
the ledger keeps it. A value that does not fit its column's type is null there, and stands as JSON in the last column, `other_values`:
nothing is lost.
"""

from __future__ import annotations

import importlib
import math
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from orchestrator.delivery.answers import Line, as_json
from orchestrator.delivery.columns import Kind, Schema, written
from orchestrator.delivery.table import AFTER, BEFORE, Table
from orchestrator.errors import InvalidConfig, InvalidRequest

GROUP_ROWS: Final = 20_000
GROUP_CHARS: Final = 64_000_000
"""Of text, after which a group of rows ends early."""
OTHER: Final = "other_values"
UNFIT: Final = object()


def write_parquet(lines: Iterable[Line], schema: Schema | None, path: str | os.PathLike[str]) -> int:
    """Write result lines as a Parquet file, whole or not at all; returns how many there were.

    Lines are taken as they come, and kept for one group of rows. Raises InvalidConfig where pyarrow is not installed, and
    InvalidRequest where the file cannot be written.
    """
    arrow, parquet = _arrow()
    table = Table.of(schema)
    kinds = _kinds(table)
    names = _names(table)
    types = [_type(arrow, kind) for kind in kinds] + [arrow.string()]
    form = arrow.schema(list(zip(names, types, strict=True)))
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".rightsize-{secrets.token_hex(8)}")
    try:
        with parquet.ParquetWriter(temporary, form, compression="zstd") as writer:
            count = _write(lines, table, kinds, lambda rows: writer.write_batch(_batch(arrow, rows, form)))
        temporary.replace(target)
    except OSError as error:
        raise InvalidRequest(
            f"Cannot write {path}: {error.strerror or error}. Name a file in a folder that you may write to."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write(
    lines: Iterable[Line], table: Table, kinds: list[Kind | None], write: Callable[[list[list[Any]]], None]
) -> int:
    count = chars = 0
    rows: list[list[Any]] = []
    for count, line in enumerate(lines, 1):  # noqa: B007 - how many there were is what is returned
        row = _typed(table.row(line), table, kinds)
        rows.append(row)
        chars += sum(len(one) for one in row if isinstance(one, str))
        if len(rows) >= GROUP_ROWS or chars >= GROUP_CHARS:
            write(rows)
            rows, chars = [], 0
    if rows:
        write(rows)
    return count


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            "Parquet needs pyarrow, which is not installed. Install it: pip install 'rightsize[parquet]', or write CSV."
        ) from error


def _names(table: Table) -> list[str]:
    other = OTHER
    while other in table.names:
        other = f"rightsize.{other}"
    return [*table.names, other]


def _kinds(table: Table) -> list[Kind | None]:
    """The kind of each column; None is a cost."""
    before: list[Kind | None] = ["string"] * len(BEFORE)
    evidence: list[Kind | None] = ["number", "string"] * len(table.columns)
    ours: dict[str, Kind | None] = {"cost_usd": None, "reused": "boolean"}
    return [
        *before,
        *(column.kind for column in table.columns),
        *evidence,
        *(ours.get(name, "string") for name in AFTER),
    ]


def _type(arrow: Any, kind: Kind | None) -> Any:
    if kind is None:
        return arrow.decimal128(20, 12)
    types = {"integer": arrow.int64, "number": arrow.float64, "boolean": arrow.bool_, "date": arrow.date32}
    return types.get(kind, arrow.string)()


def _typed(row: list[Any], table: Table, kinds: list[Kind | None]) -> list[Any]:
    """A row in the types of its columns, and what did not fit as JSON at its end."""
    made: list[Any] = []
    other: dict[str, Any] = {}
    for name, kind, value in zip(table.names, kinds, row, strict=True):
        fitted = None if value is None else _fitted(kind, value)
        if fitted is UNFIT:
            other[name], fitted = value, None
        made.append(fitted)
    return [*made, as_json(other) if other else None]


def _fitted(kind: Kind | None, value: Any) -> Any:
    match kind:
        case None:
            return _cost(value)
        case "integer":
            return _integer(value)
        case "number":
            return _number(value)
        case "boolean":
            return value if isinstance(value, bool) else UNFIT
        case "date":
            return _date(value)
        case _:
            return written(value)


def _integer(value: Any) -> Any:
    if isinstance(value, Decimal) and abs(value.adjusted()) < 20 and value == value.to_integral_value():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if fits else UNFIT


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return UNFIT
    try:
        number = float(value)
    except OverflowError:
        return UNFIT
    return number if math.isfinite(number) else UNFIT


def _date(value: Any) -> Any:
    if isinstance(value, str) and len(value) == 10:  # the standard library would also take 20260131 and 2026-W05-6
        try:
            return date.fromisoformat(value) if value[4] == value[7] == "-" else UNFIT
        except ValueError:
            return UNFIT
    return UNFIT


def _cost(value: Decimal) -> Any:
    rounded = round(value, 12)
    return rounded if rounded.adjusted() < 8 else UNFIT


def _batch(arrow: Any, rows: list[list[Any]], form: Any) -> Any:
    columns: Iterable[Mapping[int, Any] | tuple[Any, ...]] = zip(*rows, strict=True)
    return arrow.RecordBatch.from_arrays(
        [arrow.array(column, type=one.type) for column, one in zip(columns, form, strict=True)], schema=form
    )
