"""PDFs are read as a person reads them: columns one after the other, words whole, headings, lists and code as such."""

from __future__ import annotations

import pytest

from orchestrator.documents.readers import pdf
from orchestrator.documents.reading import Block, Limits, Reading, from_json, to_json
from tests.documents.readers.made import nothing_within
from tests.documents.readers.pdf_writer import HEIGHT, WIDTH, Sheet
from tests.documents.readers.pdf_writer import pdf as made

LEFT = "The first column has words that\ngo on for several lines and are\nto be read before any of those\nof the column at its right hand"
RIGHT = "while the second column stands\nbeside it, with lines of its own\nthat are read once the first one\nhas come to its very last word"


def read(data: bytes, limits: Limits | None = None) -> Reading:
    reading = pdf.read(data, limits or Limits(), nothing_within)
    assert from_json(to_json(reading)) == reading
    return reading


def blocks(*sheets: Sheet) -> list[Block]:
    return [block for page in read(made(*sheets)).pages for block in page.blocks]


def texts(*sheets: Sheet) -> list[str]:
    return [block.text for block in blocks(*sheets)]


def test_columns_are_read_one_after_the_other_below_a_heading_across_them():
    sheet = Sheet().text(150, 60, "A heading across both", size=18).lines(72, 100, LEFT).lines(320, 100, RIGHT)
    assert texts(sheet) == ["# A heading across both", LEFT.replace("\n", " "), RIGHT.replace("\n", " ")]


@pytest.mark.parametrize("shift", [0, 3, 6])
def test_columns_are_found_wherever_their_lines_stand(shift):
    sheet = Sheet().lines(320, 100 + shift, RIGHT).lines(72, 100, LEFT)
    assert texts(sheet) == [LEFT.replace("\n", " "), RIGHT.replace("\n", " ")]


def test_three_columns_are_read_from_left_to_right():
    words = [
        f"{name} narrow column\nof a leaflet that\nhas three of them\nside by side here"
        for name in ("Left", "Middle", "Right")
    ]
    sheet = Sheet(wide=842, high=WIDTH)
    for index in (2, 0, 1):
        sheet.lines(60 + index * 250, 100, words[index], size=12, pitch=15)
    assert " ".join(" ".join(texts(sheet)).split()) == " ".join(" ".join(words).split())


def test_text_after_columns_across_the_page_is_read_last():
    below = "A paragraph that goes across the whole width of the page, and that stands below both of its columns."
    sheet = Sheet().text(72, 180, below).lines(72, 100, LEFT).lines(320, 100, RIGHT)
    assert texts(sheet)[-1] == below


def test_a_word_parted_at_the_end_of_a_line_is_whole_again():
    sheet = Sheet().lines(
        72, 100, "This paragraph has a word that is parted by a hy-\nphen at the end of its line, as is usual in print."
    )
    assert texts(sheet) == [
        "This paragraph has a word that is parted by a hyphen at the end of its line, as is usual in print."
    ]


def test_a_hyphen_that_belongs_to_the_word_stays():
    lines = "An up-to-date list of hard-wired values. Those that are hard-\nwired elsewhere are in the list of 2019-\n2020 as well, together with those of Saxe-\nCoburg."
    assert texts(Sheet().lines(72, 100, lines)) == [
        "An up-to-date list of hard-wired values. Those that are hard-wired elsewhere are in the list of 2019-2020 as well, together "
        "with those of Saxe-Coburg."
    ]  # fmt: skip


def test_words_that_are_placed_one_by_one_are_apart_and_letters_are_not():
    sheet = Sheet()
    for x, part in [(72, "Wo"), (87.6, "rds"), (107, "placed"), (139, "alone")]:
        sheet.text(x, 100, part)
    assert texts(sheet) == ["Words placed alone"]


def test_text_that_is_printed_twice_for_its_shadow_is_read_once():
    assert texts(Sheet().text(72, 100, "Shadowed").text(72.4, 100.4, "Shadowed")) == ["Shadowed"]


def test_raised_and_lowered_signs_stay_on_their_line():
    sheet = Sheet().text(72, 100, "Water is H").text(118.4, 102, "2", size=6).text(122, 100, "O")
    assert texts(sheet) == ["Water is H2O"]


def test_headings_have_levels_by_their_size_and_bold_ones_come_last():
    body = "Text of the body that is long enough to be most of what there is on this page, by far.\n" * 3
    sheet = Sheet().text(72, 60, "Title of it all", size=24).text(72, 100, "A chapter", size=16).lines(72, 120, body)
    sheet.text(72, 180, "A section", font="bold").lines(72, 200, body)
    assert [(block.text, block.level) for block in blocks(sheet) if block.kind == "heading"] == [
        ("# Title of it all", 1), ("## A chapter", 2), ("### A section", 3),
    ]  # fmt: skip


def test_paragraphs_are_told_apart_by_their_distance_and_by_their_indents():
    first = "The first paragraph goes on over more than one line of the page,\nand ends here."
    second = "The second one begins after some room, and is as long as that one,\nor nearly."
    third = "The third begins with an indent, without any room before it at all,\nand is the last."
    indented, rest = third.split("\n")
    sheet = Sheet().lines(72, 100, first).lines(72, 140, second).text(90, 164, indented).text(72, 176, rest)
    assert texts(sheet) == [one.replace("\n", " ") for one in (first, second, third)]


def test_lines_of_an_address_stay_lines():
    assert texts(Sheet().lines(72, 100, "Ada Lovelace\n12 St James's Square\nLondon\nEngland")) == [
        "Ada Lovelace\n12 St James's Square\nLondon\nEngland"
    ]


def test_bullets_and_numbers_make_lists_with_items_of_several_lines():
    sheet = Sheet().lines(
        72, 100, "\u2022 The first item is so long that it goes on in\n   the next line of it\n\u2022 The second item"
    )
    sheet.lines(72, 180, "1. Number one\n2. Number two\n3. Number three")
    assert [(block.kind, block.text) for block in blocks(sheet)] == [
        ("list", "- The first item is so long that it goes on in the next line of it\n- The second item"),
        ("list", "1. Number one\n2. Number two\n3. Number three"),
    ]


def test_code_keeps_its_lines_and_indents():
    prose = "This is what the function looks like, in a language that indents what belongs together:\n" * 3
    sheet = Sheet().lines(72, 60, prose).lines(72, 130, "def add(a, b):\n    return a + b", font="mono")
    # the writer puts the leading spaces as signs; a reader goes by where the letters stand
    assert blocks(sheet)[-1].text == "```\ndef add(a, b):\n    return a + b\n```"


def test_a_table_of_contents_keeps_its_lines_and_loses_its_dots():
    sheet = Sheet().lines(72, 100, "Preface . . . . . . . . . . . . . . 1\nThe first chapter . . . . . . . . . 7")
    assert texts(sheet) == ["Preface ... 1\nThe first chapter ... 7"]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_read_and_its_boxes_are_as_it_is_displayed(turn):
    (block,) = blocks(Sheet(rotate=turn).text(72, 72, "Turned page"))
    left, top, right, bottom = block.box or (0, 0, 0, 0)
    middle = ((left + right) / 2, (top + bottom) / 2)
    x, y = 100 / WIDTH, 69 / HEIGHT
    expected = {0: (x, y), 90: (1 - y, x), 180: (1 - x, 1 - y), 270: (y, 1 - x)}[turn]
    assert block.text == "Turned page"
    assert middle == pytest.approx(expected, abs=0.02)


def test_text_that_runs_up_the_page_is_read_along_its_own_lines():
    sheet = (
        Sheet()
        .lines(72, 72, LEFT)
        .text(300, 400, "Along the side", turn="0 1 -1 0")
        .text(312, 400, "in two lines", turn="0 1 -1 0")
    )
    assert " ".join(texts(sheet)[-1].split()) == "Along the side in two lines"


def test_a_slanted_watermark_comes_after_the_text():
    sheet = Sheet().text(100, 700, "DRAFT", size=40, turn="0.7 0.7 -0.7 0.7").lines(72, 72, LEFT)
    assert [text.lstrip("# ") for text in texts(sheet)] == [LEFT.replace("\n", " "), "DRAFT"]


def test_what_lies_beyond_the_edges_of_the_page_is_not_read():
    assert texts(Sheet().text(72, 72, "Seen").text(-200, 72, "Left of it").text(72, 2000, "Below it")) == ["Seen"]


def test_headers_and_footers_become_notes_and_no_word_is_lost():
    pages = [
        Sheet().text(72, 30, "The Journal of Tests").lines(72, 100, LEFT).text(280, 820, f"Page {number} of 3")
        for number in (1, 2, 3)
    ]
    reading = read(made(*pages))
    assert [[block.kind for block in page.blocks] for page in reading.pages] == [["note", "paragraph", "note"]] * 3
    assert reading.text.count("The Journal of Tests") == 3
    assert "Page 2 of 3" in reading.text


@pytest.mark.parametrize(
    "given, told",
    [
        ("Annual Report 2025", "Annual Report 2025"),
        ("Microsoft Word - x.doc", ""),
        ("report.indd", ""),
        ("", ""),
        ("  -- ", ""),
    ],
)
def test_the_title_is_what_the_file_says_unless_that_is_no_title(given, told):
    assert read(made(Sheet().text(72, 72, "Some text"), title=given)).title == told


def test_without_a_title_the_largest_heading_of_the_first_page_is_taken():
    sheet = Sheet().text(72, 50, "Heading", size=22).lines(72, 100, LEFT)
    assert read(made(sheet)).title == "Heading"


def test_the_page_of_every_block_has_a_box_within_the_page():
    for block in blocks(Sheet().text(72, 50, "Heading", size=22).lines(72, 100, LEFT).lines(320, 100, RIGHT)):
        left, top, right, bottom = block.box or (-1, -1, -1, -1)
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
