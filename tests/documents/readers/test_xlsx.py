"""Workbooks."""

from __future__ import annotations

import contextlib
import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import xlsx
from orchestrator.documents.readers.sheets import shown
from orchestrator.documents.reading import Limits, Reading, Unreadable
from tests.documents.readers.made import nothing_within, small
from tests.documents.readers.made import xlsx as made


def read(data: bytes, limits: Limits | None = None) -> Reading:
    return xlsx.read(data, limits or Limits(), nothing_within)


def row(*cells: object, at: int = 1, column: int = 0) -> str:
    made_cells = "".join(
        f'<c r="{chr(65 + column + n)}{at}" t="inlineStr"><is><t>{cell}</t></is></c>' if isinstance(cell, str) else
        f'<c r="{chr(65 + column + n)}{at}"><v>{cell}</v></c>'
        for n, cell in enumerate(cells)
    )  # fmt: skip
    return f'<row r="{at}">{made_cells}</row>'


def test_each_sheet_is_a_page_named_after_it():
    reading = read(made({"Prices": row("item", "price") + row("pen", 1.5, at=2), "Other": row("x", "y")}))
    assert [(page.number, page.name, page.text) for page in reading.pages] == [
        (1, "Prices", "| item | price |\n| - | - |\n| pen | 1.5 |"),
        (2, "Other", "| x | y |\n| - | - |"),
    ]


def test_empty_rows_and_columns_part_areas_and_are_left_out():
    rows = (
        row("Report", at=2, column=1)
        + row("a", "", "b", at=5, column=2)
        + row(1, "", 2, at=6, column=2)
        + row("c", "d", at=9)
    )
    assert read(made({"S": rows})).text == "Report\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n| c | d |\n| - | - |"


def test_formulas_are_the_values_that_were_computed_last():
    cell = '<row r="1"><c r="A1" t="str"><f>HYPERLINK("http://127.0.0.1:9/")</f><v>shown</v></c><c r="B1"><f>1+1</f><v>2</v></c></row>'
    assert read(made({"S": cell})).text == "| shown | 2 |\n| - | - |"


def test_dates_are_iso_and_truth_is_said():
    cells = '<row r="1"><c r="A1" s="1"><v>45352</v></c><c r="B1" t="b"><v>1</v></c><c r="C1" t="e"><v>#DIV/0!</v></c></row>'
    assert read(made({"S": cells})).text.split("\n")[0].startswith("| 2024-03-01 | TRUE |")


@pytest.mark.parametrize(
    "value,text",
    [
        (5.0, "5"), (0.1 + 0.2, "0.3"), (1234567.891, "1234567.891"), (1.5e-7, "0.00000015"), (12345678901234567890.0, "12345678901234600000"),
        (1e300, "1e+300"), (float("nan"), "nan"), (-0.5, "-0.5"), (True, "TRUE"), (None, ""), (dt.datetime.fromisoformat("2024-03-01"), "2024-03-01"),
        (dt.datetime.fromisoformat("2024-03-01T12:30"), "2024-03-01 12:30:00"), (dt.timedelta(hours=30, minutes=5), "30:05:00"), (dt.time(8, 5), "08:05:00"),
    ],
)  # fmt: skip
def test_values_are_written_plainly(value, text):
    assert shown(value) == text


def test_a_hidden_sheet_is_read_and_told():
    reading = read(made({"A": row("a", "b"), "B": row("secret")}, hidden="B"))
    assert reading.pages[1].text == "secret"
    assert reading.notes == ("The sheet 'B' is hidden; it was read like the rest.",)


def test_cells_cannot_break_out_of_their_table():
    assert read(made({"S": row("a|b\n| c |", "d")})).text == "| a\\|b \\| c \\| | d |\n| - | - |"


def test_a_sheet_of_a_million_rows_is_refused_where_its_text_is_too_long(monkeypatch):
    rows = "".join(
        f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="B{n}"><v>{n}.25</v></c></row>' for n in range(1, 1_000_001)
    )
    data = made({"S": rows})
    cells = []
    monkeypatch.setattr(xlsx, "shown", lambda value: cells.append(value) or str(value))
    with pytest.raises(Unreadable) as refused:
        read(data, small(max_chars=2_000_000))
    assert refused.value.code == "text_too_long"
    assert 0 < len(cells) < 500_000, "of two million: the rest of it is not looked at"


def test_a_stray_cell_far_away_is_refused_before_all_between_is_held():
    with pytest.raises(Unreadable, match="Delete stray cells") as refused:
        read(made({"S": row("a") + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'}))
    assert refused.value.code == "file_too_large"


def test_too_many_sheets_are_refused():
    with pytest.raises(Unreadable) as refused:
        read(made({f"S{n}": row("a") for n in range(5)}), small(max_pages=4))
    assert refused.value.code == "too_many_pages"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([
    '<row r="1">', "<row>", "</row>", '<c r="A1">', '<c t="s">', '<c t="d">', '<c s="1">', "</c>", "<v>1</v>", "<v>99999999999</v>", "<v>x</v>",
    '<c r="ZZZ1"/>', '<c r="A0"><v>1</v></c>', "<is><t>a</t></is>", '<f t="shared" si="0">A1</f>', "<v>-1e9</v>",
]), max_size=20))  # fmt: skip
def test_any_sheet_is_a_reading_or_is_refused(parts):
    with contextlib.suppress(Unreadable):
        read(made({"S": "".join(parts)}))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_reading_or_are_refused(data):
    whole = made({"S": row("a")})
    for start in (whole[:500], whole[:-60], b"PK\x03\x04"):
        with contextlib.suppress(Unreadable):
            read(start + data)
