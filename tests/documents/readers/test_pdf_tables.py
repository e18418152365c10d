"""Tables in PDFs come out as tables, ruled or not, and text in columns does not."""

from __future__ import annotations

import pytest

from orchestrator.documents.readers import pdf
from orchestrator.documents.reading import Block, Limits
from tests.documents.readers.made import nothing_within
from tests.documents.readers.pdf_writer import Sheet
from tests.documents.readers.pdf_writer import pdf as made

ROWS = [("Item", "Count", "Price"), ("Bread", "2", "4.50"), ("Salted butter", "1", "3.20"), ("Milk", "12", "14.40")]
TABLE = "\n".join(["| Item | Count | Price |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in ROWS[1:])])


def blocks(*sheets: Sheet) -> list[Block]:
    reading = pdf.read(made(*sheets), Limits(), nothing_within)
    return [block for page in reading.pages for block in page.blocks]


def put(
    sheet: Sheet, rows: list[tuple[str, ...]], xs: tuple[float, ...] = (76, 204, 304), y: float = 114, pitch: float = 20
) -> Sheet:
    for index, row in enumerate(rows):
        for x, text in zip(xs, row, strict=True):
            sheet.text(x, y + pitch * index, text)
    return sheet


@pytest.mark.parametrize("ruled", [True, False], ids=["ruled", "unruled"])
def test_rows_and_columns_make_a_table(ruled):
    sheet = put(Sheet(), ROWS)
    if ruled:
        sheet.grid([72, 200, 300, 400], [100, 120, 140, 160, 180])
    assert [(block.kind, block.text) for block in blocks(sheet)] == [("table", TABLE)]


def test_a_table_stands_between_the_paragraphs_around_it():
    sheet = put(Sheet().text(72, 80, "What was bought is in the following table, with its price:"), ROWS)
    sheet.text(72, 220, "All of it was paid at once, and in cash, on the day itself.").grid(
        [72, 200, 300, 400], [100, 120, 140, 160, 180]
    )
    assert [block.kind for block in blocks(sheet)] == ["paragraph", "table", "paragraph"]


def test_lines_of_one_ruled_cell_stay_in_it():
    sheet = Sheet().grid([72, 200, 300], [100, 120, 160]).text(76, 114, "Name").text(204, 114, "Note")
    sheet.text(76, 134, "Ada").text(204, 134, "wrote the").text(204, 148, "first one")
    (table,) = blocks(sheet)
    assert table.text == "| Name | Note |\n| --- | --- |\n| Ada | wrote the first one |"


def test_rows_between_whose_lines_nothing_is_ruled_are_rows_of_their_own():
    sheet = Sheet().grid([72, 150, 230, 310], [100, 120, 160])
    for y, row in [(114, ("Model", "Right", "Time")), (134, ("small", "0.91", "2.7")), (148, ("large", "0.95", "5.3"))]:
        put(sheet, [row], xs=(76, 154, 234), y=y)
    (table,) = blocks(sheet)
    assert table.text == "| Model | Right | Time |\n| --- | --- | --- |\n| small | 0.91 | 2.7 |\n| large | 0.95 | 5.3 |"


def test_a_line_that_only_goes_on_in_one_cell_belongs_to_the_row_above():
    sheet = put(Sheet(), [("Item", "What it is", "Price"), ("Bread", "of rye, baked", "4.50")], pitch=24)
    put(sheet.text(204, 150, "this morning"), [("Milk", "of the village", "1.20")], y=174)
    (table,) = blocks(sheet)
    assert table.text.splitlines()[2:] == [
        "| Bread | of rye, baked this morning | 4.50 |",
        "| Milk | of the village | 1.20 |",
    ]


def test_text_across_two_ruled_columns_is_not_cut_where_no_line_is():
    sheet = Sheet().line(72, 100, 372, 100).line(72, 120, 372, 120).line(72, 140, 372, 140).line(72, 160, 372, 160)
    sheet.line(72, 100, 72, 160).line(372, 100, 372, 160).line(172, 120, 172, 160).line(272, 120, 272, 160)
    sheet.text(76, 114, "A heading that goes across all three of the columns")
    put(sheet, [("one", "two", "three"), ("four", "five", "six")], xs=(76, 176, 276), y=134)
    (table,) = blocks(sheet)
    assert "A heading that goes across all three of the columns" in table.text
    assert table.text.splitlines()[-1] == "| four | five | six |"


def test_a_bar_in_a_cell_does_not_end_it():
    (table,) = blocks(put(Sheet(), [("Kind", "Sign", "Name"), ("or", "a | b", "bar"), ("and", "a & b", "and")]))
    assert "| or | a \\| b | bar |" in table.text


def test_a_table_that_lies_sideways_is_read_along_its_lines():
    sheet = Sheet()
    for index, row in enumerate(ROWS):
        for x, text in zip((76, 204, 304), row, strict=True):
            sheet.text(100 + 20 * index, 700 - x, text, turn="0 1 -1 0")
    (table,) = blocks(sheet)
    assert table.text == TABLE
    left, top, right, bottom = table.box or (0, 0, 0, 0)
    assert bottom - top > right - left  # as it is displayed: on its side


def test_prose_in_two_columns_is_no_table():
    left = "The first column of a report has\nlines that go from edge to edge,\nas prose does; they stand beside\nthose of the second column, and\nmust not become rows of a table"
    right = "since nobody could read it then.\nThe second column has the rest,\nset on the very same lines, with\nas many letters in each of them,\nup to the last one of them all."
    kinds = [block.kind for block in blocks(Sheet().lines(72, 100, left).lines(320, 100, right))]
    assert kinds == ["paragraph", "paragraph"]


def test_a_frame_around_a_page_makes_no_table_of_it():
    text = "A letter in a frame is a letter, and no table with one cell, however it is drawn.\n" * 5
    sheet = Sheet().grid([40, 555], [40, 800]).lines(72, 100, text)
    assert [block.kind for block in blocks(sheet)] == ["paragraph"]


def test_boxes_and_arrows_of_a_drawing_make_no_table():
    sheet = Sheet()
    for x, y in [(100, 100), (300, 160), (120, 260), (330, 300)]:
        sheet.grid([x, x + 90], [y, y + 40]).text(x + 10, y + 24, "A step of it")
    sheet.line(190, 120, 300, 180).line(345, 200, 345, 300).line(210, 280, 330, 320)
    assert not any(block.kind == "table" for block in blocks(sheet))


def test_a_label_and_its_value_are_kept_apart_on_their_line():
    (block,) = blocks(Sheet().text(72, 100, "Invoice number").text(300, 100, "2025-0417"))
    assert block.text == "Invoice number  2025-0417"


def test_heads_that_run_up_narrow_ruled_columns_are_in_their_cells():
    sheet = Sheet().grid([72, 172, 192, 212], [100, 180, 200, 220]).text(76, 174, "Action")
    for x, text in [(186, "May read"), (206, "May write")]:
        sheet.text(x, 175, text, turn="0 1 -1 0")
    put(sheet, [("Look at it", "X", ""), ("Change it", "X", "X")], xs=(76, 178, 198), y=194)
    (table,) = blocks(sheet)
    assert table.text.splitlines() == [
        "| Action | May read | May write |", "| --- | --- | --- |", "| Look at it | X |  |", "| Change it | X | X |",
    ]  # fmt: skip
