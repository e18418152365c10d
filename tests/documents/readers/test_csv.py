"""CSV and TSV files."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import csv
from orchestrator.documents.reading import Limits, Reading, Unreadable
from tests.documents.readers.made import nothing_within, small


def read(data: bytes, limits: Limits | None = None) -> Reading:
    return csv.read(data, limits or Limits(), nothing_within)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_lines(delimiter):
    data = f"name{delimiter}price\nA, b; c{delimiter}1\nd{delimiter}2\n".replace("A, b; c", "Ab").encode()
    assert read(data).text == "| name | price |\n| - | - |\n| Ab | 1 |\n| d | 2 |"


def test_quotes_hold_delimiters_line_ends_and_quotes():
    data = b'a,b\r\n"x, y","two\r\nlines and ""three"""\r\n'
    assert read(data).text == '| a | b |\n| - | - |\n| x, y | two lines and "three" |'


def test_single_quotes_are_quotes_where_they_stand_around_cells():
    assert read(b"a;b\n'x;y';'z'\n").text == "| a | b |\n| - | - |\n| x;y | z |"
    assert read(b"a,b\nit's,ours\n").text == "| a | b |\n| - | - |\n| it's | ours |"


def test_decimal_commas_do_not_part_cells_where_semicolons_do():
    assert read(b"a;b\n1,5;2,5\n3,0;4\n").text.endswith("| 1,5 | 2,5 |\n| 3,0 | 4 |")


def test_ragged_rows_stay_as_they_are():
    assert read(b"1,2,3,4\na,'b',c,d\na,b,c\na,b,c,d,e\n").text.endswith("| a | b | c |\n| a | b | c | d | e |")


def test_a_quote_that_is_never_closed_costs_no_row():
    reading = read(b'item,size\n"pipe,5\nrod,7\n')
    assert reading.text == '| item | size |\n| - | - |\n| "pipe | 5 |\n| rod | 7 |'
    assert reading.notes == ("A quote in it is never closed: quotes were read as part of the text.",)


def test_a_quote_within_a_cell_is_a_letter():
    reading = read(b'item,size\npipe,5"\n"rod, long",7\n')
    assert reading.text == '| item | size |\n| - | - |\n| pipe | 5" |\n| rod, long | 7 |'
    assert reading.notes == ()


def test_cells_cannot_break_out_of_their_table():
    text = read(b'a,b\n"x | y\n| fake | row |","\\|"\n').text
    assert text.split("\n")[2:] == [r"| x \| y \| fake \| row \| | \\\| |"]


def test_formulas_are_data():
    assert read(b"a,b\n=1+1,@SUM(A1)\n").text.endswith("| =1+1 | @SUM(A1) |")


def test_a_long_table_is_cut_into_blocks_that_can_be_read_alone():
    data = "\n".join(["n,square", *(f"{n},{n * n}" for n in range(1_000))]).encode()
    (page,) = read(data).pages
    assert [block.kind for block in page.blocks] == ["table"] * 5
    assert all(block.text.startswith("| n | square |\n| - | - |\n") for block in page.blocks)
    assert page.blocks[-1].text.endswith("| 999 | 998001 |")


def test_nul_bytes_and_mixed_line_ends_do_no_harm():
    assert read(b"a,b\r1,\x002\n3,4\r\n").text == "| a | b |\n| - | - |\n| 1 | 2 |\n| 3 | 4 |"


def test_a_hundred_thousand_columns_are_read_and_their_rows_bounded():
    row = ",".join(["x"] * 100_000)
    started = time.process_time()
    assert read(f"{row}\n{row}\n".encode()).text.count("| x") == 200_000
    with pytest.raises(Unreadable) as refused:
        read(f"{row}\n".encode() * 60)
    assert refused.value.code == "text_too_long"
    assert time.process_time() - started < 30


def test_tabs_rule_whatever_the_commas_between_them_say():
    reading = read(b"text\tlabel, its\na, b, c\tx, y\n")
    assert reading.kind == "tsv"
    assert reading.text.endswith("| a, b, c | x, y |")


def test_too_much_text_is_refused():
    with pytest.raises(Unreadable) as refused:
        read(b"a,b\n" * 500, small(max_chars=2_000))
    assert refused.value.code == "text_too_long"


def test_old_encodings_are_read():
    reading = read("Straße;Größe\nKöln;5 €\n".encode("cp1252"))
    assert reading.text.endswith("| Köln | 5 € |")


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_reading_or_are_refused(data):
    with contextlib.suppress(Unreadable):
        read(b'a,b\n"c",d\n' + data)
