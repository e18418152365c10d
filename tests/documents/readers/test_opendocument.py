"""Texts and sheets of OpenDocument."""

from __future__ import annotations

import contextlib
import io
import time

import odfdo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import odt, xlsx
from orchestrator.documents.reading import Limits, Reading, Unreadable
from tests.documents.readers.made import ODF, nothing_within, opendocument, small


def text(body: str, parts: dict[str, str] | None = None, limits: Limits | None = None) -> Reading:
    return odt.read(opendocument("text", body, parts), limits or Limits(), nothing_within)


def sheets(body: str, styles: str = "", limits: Limits | None = None) -> Reading:
    return xlsx.read(opendocument("spreadsheet", body, {"styles": styles}), limits or Limits(), nothing_within)


def cell(content: str, **attributes: str) -> str:
    told = "".join(f' {key.replace("_", ":", 1).replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<table:table-cell{told}><text:p>{content}</text:p></table:table-cell>"


def test_headings_paragraphs_and_white_space():
    body = '<text:h text:outline-level="2">Head</text:h><text:p>a  <text:span>b</text:span>\n c<text:s text:c="3"/>d<text:tab/>e<text:line-break/>f</text:p>'
    assert text(body).text == "## Head\n\na b c   d\te\nf"


def test_links_have_their_targets():
    assert (
        text('<text:p>See <text:a xlink:href="http://a.example/">us</text:a>.</text:p>').text
        == "See [us](http://a.example/)."
    )


def test_lists_keep_their_nesting_and_count_where_their_style_counts():
    styles = (
        '<text:list-style style:name="N"><text:list-level-style-number text:level="1" style:num-format="1"/>'
        '<text:list-level-style-bullet text:level="2"/></text:list-style>'
    )
    inner = "<text:list><text:list-item><text:p>in</text:p></text:list-item></text:list>"
    body = (
        f'<text:list text:style-name="N"><text:list-item><text:p>a</text:p><text:p>more</text:p>{inner}</text:list-item>'
        '<text:list-item text:start-value="5"><text:p>b</text:p></text:list-item></text:list>'
    )
    assert text(body, {"styles": styles}).text == "1. a\n    more\n    - in\n5. b"


def test_merged_cells_stand_in_each_row_and_column_that_they_cover():
    body = (
        "<table:table><table:table-header-rows><table:table-row>"
        + cell("Year", table_number_rows_spanned="2") + cell("Sales", table_number_columns_spanned="2")
        + "<table:covered-table-cell/></table:table-row></table:table-header-rows><table:table-row><table:covered-table-cell/>"
        + cell("Q1") + cell("Q2") + "</table:table-row></table:table>"
    )  # fmt: skip
    assert text(body).text == "| Year | Sales | Sales |\n| - | - | - |\n| Year | Q1 | Q2 |"


def test_notes_and_comments_follow_the_text_and_deletions_are_left_out():
    note = '<text:note text:id="n1"><text:note-citation>1</text:note-citation><text:note-body><text:p>See there.</text:p></text:note-body></text:note>'
    comment = "<office:annotation><dc:creator>Ann</dc:creator><dc:date>2024</dc:date><text:p>Why?</text:p></office:annotation>"
    changes = "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion></text:changed-region></text:tracked-changes>"
    reading = text(f"{changes}<text:p>Text{note} here{comment}</text:p>")
    assert reading.text == "Text[^1] here\n\n[^1]: See there.\n\n[Comment by Ann] Why?"
    assert reading.notes == ("It has tracked changes: what was inserted was read, what was deleted was left out.",)


def test_headers_boxes_pictures_and_equations_are_read():
    styles = f"<office:document-styles {ODF}><office:master-styles><style:master-page><style:header><text:p>Acme Ltd</text:p></style:header><style:footer><text:p>3</text:p></style:footer></style:master-page></office:master-styles></office:document-styles>"
    math = '<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow><mfrac><mi>a</mi><mn>2</mn></mfrac></mrow><annotation>a over 2</annotation></semantics></math>'
    body = (
        '<text:p>See<draw:frame><draw:image xlink:href="http://127.0.0.1:9/x.png"/><svg:desc>A duck</svg:desc></draw:frame></text:p>'
        "<text:p><draw:frame><draw:text-box><text:p>Boxed</text:p></draw:text-box></draw:frame></text:p>"
        '<text:p>So <draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p>'
    )
    reading = text(body, {"styles.xml": styles, "Object 1/content.xml": math})
    assert reading.text == "See\n\n[Picture: A duck]\n\nBoxed\n\nSo a/2\n\n[Header] Acme Ltd"


def test_the_title_is_told_by_the_file_or_the_first_heading():
    meta = '<o:document-meta xmlns:o="x" xmlns:dc="http://purl.org/dc/elements/1.1/"><o:meta><dc:title>Told</dc:title></o:meta></o:document-meta>'
    assert text("<text:h>Head</text:h>", {"meta.xml": meta}).title == "Told"
    assert text("<text:h>Head</text:h>").title == "Head"


def test_documents_of_a_library_are_read():
    document = odfdo.Document("text")
    document.body.clear()
    document.body.append(odfdo.Header(1, "Head"))
    document.body.append(odfdo.Paragraph("Text"))
    document.body.append(odfdo.List(["one", "two"]))
    buffer = io.BytesIO()
    document.save(buffer)
    assert odt.read(buffer.getvalue(), Limits(), nothing_within).text == "# Head\n\nText\n\n- one\n- two"


def test_each_sheet_is_a_page_and_values_are_plain():
    body = (
        '<table:table table:name="A"><table:table-row>'
        + cell("Datum") + cell("1.234,50", office_value_type="float", office_value="1234.5")
        + cell("12,5 %", office_value_type="percentage", office_value="0.125")
        + cell("1. Mai", office_value_type="date", office_date_value="2024-05-01")
        + cell("x", office_value_type="date", office_date_value="2024-05-01T08:30:00") + "</table:table-row></table:table>"
        '<table:table table:name="B" table:style-name="h"><table:table-row>' + cell("secret") + "</table:table-row></table:table>"
    )  # fmt: skip
    reading = sheets(body, '<style:style style:name="h"><style:table-properties table:display="false"/></style:style>')
    assert [(page.name, page.text) for page in reading.pages] == [
        ("A", "| Datum | 1234.5 | 12,5 % | 2024-05-01 | 2024-05-01 08:30:00 |\n| - | - | - | - | - |"), ("B", "secret"),
    ]  # fmt: skip
    assert reading.notes == ("The sheet 'B' is hidden; it was read like the rest.",)


def test_repeated_cells_and_rows_are_repeated_and_empty_ones_are_not():
    body = (
        '<table:table><table:table-row table:number-rows-repeated="2">' + cell("a", table_number_columns_repeated="2")
        + '<table:table-cell table:number-columns-repeated="16000"/></table:table-row>'
        '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
        "<table:table-row>" + cell("b") + "</table:table-row></table:table>"
    )  # fmt: skip
    assert sheets(body).text == "| a | a |\n| - | - |\n| a | a |\n\nb"


def test_a12_a_cell_repeated_a_billion_times_is_refused_within_seconds():
    body = (
        '<table:table><table:table-row table:number-rows-repeated="1048576">'
        + cell("boom", table_number_columns_repeated="16384") + "</table:table-row></table:table>"
    )  # fmt: skip
    started = time.process_time()
    with pytest.raises(Unreadable) as refused:
        sheets(body)
    assert refused.value.code == "text_too_long"
    assert time.process_time() - started < 30


def test_too_much_text_and_too_many_sheets_are_refused():
    with pytest.raises(Unreadable) as refused:
        text("<text:p>word</text:p>" * 500, limits=small(max_chars=1_000))
    assert refused.value.code == "text_too_long"
    with pytest.raises(Unreadable) as refused:
        sheets("<table:table/>" * 5, limits=small(max_pages=4))
    assert refused.value.code == "too_many_pages"


def test_text_cannot_pass_for_our_structure():
    assert text("<text:p># fake</text:p><text:p>| a |</text:p>").text == "\\# fake\n\n\\| a |"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([
    "<text:p>", "</text:p>", "<text:h text:outline-level='x'>", "</text:h>", "<text:list>", "</text:list>", "<text:list-item>",
    "</text:list-item>", "<table:table>", "</table:table>", "<table:table-row table:number-rows-repeated='9'>", "</table:table-row>", "a",
    "<table:table-cell table:number-columns-spanned='99999' table:number-columns-repeated='3'>", "</table:table-cell>", "<draw:frame>",
    "</draw:frame>", "<text:note>", "</text:note>", "<text:s text:c='99999999'/>", "<draw:object xlink:href='..'/>",
]), max_size=30))  # fmt: skip
def test_any_body_is_a_reading_or_is_refused(parts):
    for reader in (text, sheets):
        with contextlib.suppress(Unreadable):
            reader("".join(parts))
