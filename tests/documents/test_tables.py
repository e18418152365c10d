"""Rows of CSV and TSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.documents.rows import RowOptions, rows_of


def rows(folder: Path, data: bytes, name: str = "t.csv", options: RowOptions | None = None) -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(data)
    return [json.loads(line) for line in rows_of(path, options)]


def asked(row: dict[str, Any]) -> str:
    return row["body"]["messages"][-1]["content"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_column_of_the_text_is_the_question_and_the_label_is_what_is_expected(tmp_path, delimiter):
    data = f"id{delimiter}Text{delimiter}label\n1{delimiter}Where is it?{delimiter}shipping\n".encode()
    (row,) = rows(tmp_path, data)
    assert row["custom_id"] == "t.csv#1"
    assert asked(row) == "Where is it?"
    assert row["body"]["metadata"] == {"expected": "shipping"}


def test_without_a_column_of_text_all_columns_are_shown_by_name(tmp_path):
    (row,) = rows(tmp_path, b"\xef\xbb\xbfcity,people\nUlm,126000\n")
    assert asked(row) == "city: Ulm\npeople: 126000"


def test_a_first_row_with_numbers_in_it_is_data_and_is_not_lost(tmp_path):
    first, second = rows(tmp_path, b"1,2,apple\n3,4,pear\n")
    assert asked(first) == "column 1: 1\ncolumn 2: 2\ncolumn 3: apple"
    assert asked(second).endswith("column 3: pear")


def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(tmp_path):
    (row,) = rows(tmp_path, b'text,label\r\n"One, two\r\nand ""three""",x\r\n')
    assert asked(row) == 'One, two\nand "three"'


def test_tabs_rule_in_a_tsv_whatever_its_commas_say(tmp_path):
    (row,) = rows(tmp_path, b"text\tlabel\na, b, c\tx\n", name="t.tsv")
    assert asked(row) == "a, b, c"


def test_a_ragged_row_is_an_error_with_its_line_and_its_neighbours_stay(tmp_path):
    made = rows(tmp_path, b"text,label\na,x\n\nb\nc,x,y\nd,x\n")
    assert [row.get("error", {}).get("code") for row in made] == [None, "malformed_row", "malformed_row", None]
    assert "Line 4 has 1 columns, the header 2" in made[1]["error"]["message"]
    assert [row["custom_id"] for row in made] == ["t.csv#1", "t.csv#2", "t.csv#3", "t.csv#4"]


@pytest.mark.parametrize("bad", [b"a\x00b,x", b"\xff,x", b'"a"b,x', b" ,x"])
def test_a_row_that_is_no_text_is_an_error_and_its_neighbours_stay(tmp_path, bad):
    made = rows(tmp_path, b"text,label\nbefore,x\n" + bad + b"\nafter,x\n")
    assert [row.get("error", {}).get("code") for row in made] == [None, "malformed_row", None]
    assert "ine 3" in made[1]["error"]["message"]


def test_a_quote_that_is_never_closed_names_the_lines_that_it_swallowed(tmp_path):
    made = rows(tmp_path, b'text,label\na,x\n"b,x\nc,x\n')
    assert [row.get("error", {}).get("code") for row in made] == [None, "malformed_row"]
    assert "lines 3 to 4" in made[1]["error"]["message"]


def test_a_field_of_five_megabytes_is_refused_and_the_next_row_is_read(tmp_path):
    made = rows(tmp_path, b"text,label\n" + b"x" * 5_000_000 + b",y\nafter,y\n")
    assert [row.get("error", {}).get("code") for row in made] == ["row_too_large", None]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"text,label\n"])
def test_a_table_without_rows_is_an_error(tmp_path, data):
    assert [(row["custom_id"], row["error"]["code"]) for row in rows(tmp_path, data)] == [("t.csv", "empty_file")]


def test_a_binary_file_with_the_suffix_of_a_table_is_one_error(tmp_path):
    (row,) = rows(tmp_path, b"PK\x03\x04\x00\x00" + bytes(range(256)) * 100)
    assert row["error"]["code"] == "malformed_row"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.sampled_from([b'"', b",", b";", b"\n", b"\r", b"a", b"1", b"text", b"\x00", b"\xff"]), max_size=30)
)
def test_whatever_comes_every_line_out_is_json_with_an_id_of_its_own(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(b"".join(data))
    ids = [orjson.loads(line)["custom_id"] for line in rows_of(path)]
    assert ids
    assert len(set(ids)) == len(ids)
