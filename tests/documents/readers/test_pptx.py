"""Presentations."""

from __future__ import annotations

import contextlib
import io

import pptx as library
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from orchestrator.documents.readers import pptx
from orchestrator.documents.reading import Limits, Reading, Unreadable
from tests.documents.readers.made import A, P, nothing_within, small
from tests.documents.readers.made import pptx as made


def read(data: bytes, limits: Limits | None = None) -> Reading:
    return pptx.read(data, limits or Limits(), nothing_within)


def shape(text: str, holder: str = "", place: str = "") -> str:
    ph = f'<p:nvPr><p:ph type="{holder}"/></p:nvPr>' if holder else ""
    paragraphs = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return f"<p:sp><p:nvSpPr>{ph}</p:nvSpPr><p:spPr>{place}</p:spPr><p:txBody>{paragraphs}</p:txBody></p:sp>"


@pytest.fixture(scope="module")
def deck() -> bytes:
    """A presentation as a program writes it: points, a table with merged cells, a chart, notes, a picture, a group."""
    show = library.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Results"
    frame = slide.placeholders[1].text_frame
    frame.text = "Sales rose"
    for text, level in (("In Europe", 1), ("In Asia", 1), ("Costs fell", 0)):
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
    slide.notes_slide.notes_text_frame.text = "Mention the weather."
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Figures"
    table = second.shapes.add_table(3, 3, Inches(1), Inches(1), Inches(4), Inches(2)).table
    for row in range(3):
        for column in range(3):
            table.cell(row, column).text = f"{row}{column}"
    table.cell(0, 0).merge(table.cell(0, 1))
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(0, 0).text, table.cell(1, 0).text = "wide", "tall"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("2024", (1.5, 2))
    data.add_series("2025", (3, 4))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(4), Inches(4), Inches(2), data)
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "In a group"
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    shown = second.shapes.add_picture(picture, 0, 0)
    shown._element.nvPicPr.cNvPr.set("descr", "A black square")
    buffer = io.BytesIO()
    show.save(buffer)
    return buffer.getvalue()


def test_each_slide_is_a_page_with_its_title_its_points_and_its_notes(deck):
    first = read(deck).pages[0]
    assert first.text == (
        "# Results\n\n- Sales rose\n    - In Europe\n    - In Asia\n- Costs fell\n\n[Speaker's notes] Mention the weather."
    )
    assert [block.kind for block in first.blocks] == ["heading", "list", "note"]


def test_tables_charts_groups_and_pictures_are_read(deck):
    reading = read(deck)
    assert reading.pages[1].text == (
        "# Figures\n\n| wide | wide | 02 |\n| - | - | - |\n| tall | 11 | 12 |\n| tall | 21 | 22 |\n\n"
        "|  | 2024 | 2025 |\n| - | - | - |\n| East | 1.5 | 3 |\n| West | 2 | 4 |\n\nIn a group\n\n[Picture: A black square]"
    )
    assert reading.title == "Results"
    assert reading.notes == ("Its pictures (1) were not looked at; the words that describe them were read.",)


def test_slides_stand_in_the_order_in_which_they_are_shown():
    reading = read(made([shape("first made"), shape("shown first")]))
    assert [page.text for page in reading.pages] == ["shown first", "first made"]


def test_blocks_have_the_places_of_their_shapes():
    place = '<a:xfrm><a:off x="100" y="50"/><a:ext cx="500" cy="5000"/></a:xfrm>'
    (page,) = read(made([shape("T", "title", place) + shape("x")])).pages
    assert [block.box for block in page.blocks] == [(0.1, 0.1, 0.6, 1.0), None]


def test_the_title_comes_first_and_numbers_and_dates_of_slides_do_not():
    (page,) = read(
        made([shape("7", "sldNum") + shape("text") + shape("The title", "ctrTitle") + shape("1 May", "dt")])
    ).pages
    assert page.text == "# The title\n\ntext"


def test_a_hidden_slide_is_read_and_told():
    data = made(
        [shape("secret")],
        {
            "ppt/slides/slide1.xml": f'<p:sld {P} {A} show="0"><p:cSld><p:spTree>{shape("secret")}</p:spTree></p:cSld></p:sld>'
        },
    )
    reading = read(data)
    assert reading.text == "secret"
    assert reading.notes == ("Slide 1 is hidden; it was read like the rest.",)


def test_relations_that_lead_nowhere_or_outside_do_no_harm():
    frame = (
        '<p:graphicFrame><a:graphic><a:graphicData><c:chart xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        'r:id="rId9"/></a:graphicData></a:graphic></p:graphicFrame>'
    )
    for target in ("../../../../etc/passwd", "http://127.0.0.1:9/chart.xml", "gone.xml"):
        assert read(made([shape("a") + frame], rels={"rId9": ("chart", target)})).text == "a"


def test_too_many_slides_are_refused():
    with pytest.raises(Unreadable) as refused:
        read(made([shape("a")] * 5), small(max_pages=4))
    assert refused.value.code == "too_many_pages"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([
    "<p:sp>", "</p:sp>", "<p:grpSp>", "</p:grpSp>", "<p:txBody>", "</p:txBody>", "<a:p>", "</a:p>", "<a:t>a</a:t>", "<p:spPr>", "</p:spPr>",
    '<a:xfrm><a:off x="nan" y=""/><a:ext cx="1e999"/></a:xfrm>', '<a:pPr lvl="99"><a:buAutoNum/></a:pPr>', '<a:pPr lvl=""><a:buChar/></a:pPr>', "<p:graphicFrame>", "<a:tbl>",
    '<a:tr><a:tc gridSpan="99999" rowSpan="-1"/></a:tr>', "</a:tbl>", "</p:graphicFrame>", '<c:chart xmlns:c="x"/>', "<p:pic/>",
]), max_size=30))  # fmt: skip
def test_any_slide_is_a_reading_or_is_refused(parts):
    with contextlib.suppress(Unreadable):
        read(made(["".join(parts)]))
