"""Result lines as Parquet."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from orchestrator.delivery import parquet as ours
from orchestrator.delivery.parquet import write_parquet
from orchestrator.errors import InvalidConfig, InvalidRequest
from tests.delivery.lines import SCHEMA, failed, invoices, line


@pytest.fixture
def reader() -> Any:
    """pyarrow's own reader."""
    return pyarrow.parquet


def test_columns_have_the_types_of_the_schema_and_money_stays_exact(reader: Any, tmp_path: Path) -> None:
    answer = '{"number": "R-1", "date": "2026-03-14", "total": -5.20, "paid": true, "tags": ["a", "b"], "lines": [{"text": "x"}]}'
    fields = {"/total": {"confidence": 0.5, "page": 1, "box": None, "found": True}}
    assert write_parquet([line(answer=answer, fields=fields), failed()], SCHEMA, tmp_path / "t.parquet") == 2
    table = reader.read_table(tmp_path / "t.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["date"], types["total"], types["paid"], types["number"]) == (
        "date32[day]",
        "double",
        "bool",
        "string",
    )
    assert (types["cost_usd"], types["reused"], types["total.confidence"]) == ("decimal128(20, 12)", "bool", "double")
    first, second = table.to_pylist()
    assert (first["date"], first["total"], first["paid"], first["tags"]) == (date(2026, 3, 14), -5.2, True, "a; b")
    assert (first["cost_usd"], first["lines"], first["other_values"]) == (Decimal("0.0125"), '[{"text":"x"}]', None)
    assert (second["error_code"], second["total"]) == ("unreadable_file", None)


def test_a_value_of_another_type_is_null_and_not_lost(reader: Any, tmp_path: Path) -> None:
    answer = '{"date": "14.03.2026", "total": "five", "paid": "yes", "number": 7}'
    write_parquet([line(answer=answer)], SCHEMA, tmp_path / "t.parquet")
    (row,) = reader.read_table(tmp_path / "t.parquet").to_pylist()
    assert (row["date"], row["total"], row["paid"], row["number"]) == (None, None, None, "7")
    assert row["other_values"] == '{"date":"14.03.2026","total":"five","paid":"yes"}'


@pytest.mark.parametrize(
    "value, fitted, other",
    [("5.0", 5, None), ("1e3", 1000, None), ("5.5", None, '{"n":5.5}'), ("9223372036854775808", None, '{"n":9223372036854775808}'),
     ("1e999999", None, '{"n":1E+999999}'), ("true", None, '{"n":true}'), ("-9223372036854775808", -(2**63), None)],
)  # fmt: skip
def test_whole_numbers_that_are_none_or_too_large_stand_apart(
    reader: Any, tmp_path: Path, value: str, fitted: int | None, other: str | None
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    write_parquet([line(answer=f'{{"n": {value}}}')], schema, tmp_path / "t.parquet")
    (row,) = reader.read_table(tmp_path / "t.parquet").to_pylist()
    assert (row["n"], row["other_values"]) == (fitted, other)


def test_lines_are_written_in_groups_of_rows_as_they_come(
    reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "GROUP_ROWS", 400)
    assert write_parquet(invoices(1_000), SCHEMA, tmp_path / "t.parquet") == 1_000
    told = reader.ParquetFile(tmp_path / "t.parquet").metadata
    assert [told.row_group(number).num_rows for number in range(told.num_row_groups)] == [400, 400, 200]


def test_long_texts_end_a_group_early(reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "GROUP_CHARS", 10_000)
    write_parquet([line(answer="x" * 6_000)] * 5, None, tmp_path / "t.parquet")
    assert reader.ParquetFile(tmp_path / "t.parquet").metadata.num_row_groups == 3


def test_a_run_that_breaks_off_leaves_the_old_file(reader: Any, tmp_path: Path) -> None:
    def broken() -> Any:
        yield line()
        raise ValueError("the source broke")

    (tmp_path / "t.parquet").write_text("old")
    with pytest.raises(ValueError, match="the source broke"):
        write_parquet(broken(), SCHEMA, tmp_path / "t.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    assert (tmp_path / "t.parquet").read_text() == "old"


def test_a_place_that_cannot_be_written_is_told(reader: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Name a file in a folder"):
        write_parquet([line()], SCHEMA, tmp_path / "no" / "t.parquet")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidConfig, match="rightsize\\[parquet\\]', or write CSV"):
        write_parquet([line()], SCHEMA, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []
