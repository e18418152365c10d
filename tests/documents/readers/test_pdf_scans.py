"""Pages without a text layer that can be gone by are looked at; those with a sound one are taken at their word."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from orchestrator.documents.readers import pdf
from orchestrator.documents.reading import Limits, Reading
from tests.documents.readers.made import nothing_within
from tests.documents.readers.pdf_writer import Sheet, picture_of
from tests.documents.readers.pdf_writer import pdf as made
from tests.documents.readers.test_pdf_scripts import cid_pdf


def picture(*lines: str, size: tuple[int, int] = (1240, 1754), letters: int = 40) -> bytes:
    page = Image.new("L", size, 255)
    font = ImageFont.load_default(size=letters)
    for index, line in enumerate(lines):
        ImageDraw.Draw(page).text((size[0] // 12, letters + index * letters * 2), line, fill=0, font=font)
    return picture_of(*size, page.tobytes())


def read(*sheets: Sheet, limits: Limits | None = None) -> Reading:
    return pdf.read(made(*sheets), limits or Limits(), nothing_within)


SCAN = Sheet().picture(0, 0, 595, 842, picture("Received with thanks", "Invoice 4711 was paid in full"))


def test_a_page_that_is_a_picture_is_read_from_it_and_says_so():
    reading = read(Sheet().text(72, 72, "A page with text of its own"), SCAN)
    first, second = reading.pages
    assert (first.source, first.text) == ("text", "A page with text of its own")
    assert second.source == "ocr"
    assert "Invoice 4711 was paid in full" in second.text
    assert second.scan is not None
    assert second.scan.confidence > 0.8


def test_a_scan_with_a_sound_text_layer_keeps_it_with_a_note():
    sheet = Sheet().picture(0, 0, 595, 842, picture("Received with thanks"))
    reading = read(sheet.text(60, 60, "Received with thanks, as the layer says", mode=3))
    assert [(page.source, page.text) for page in reading.pages] == [("text", "Received with thanks, as the layer says")]
    assert any("Scans with a text layer" in note and "page 1" in note for note in reading.notes)


def test_a_stamp_on_a_scan_is_no_text_layer():
    sheet = Sheet().picture(0, 0, 595, 842, picture("Received with thanks")).text(500, 830, "Page 1")
    (page,) = read(sheet).pages
    assert page.source == "ocr"
    assert "Received with thanks" in page.text


@pytest.mark.parametrize("junk", ["\ue123\ue124\ue125", "\ufffd\ufffd\ufffd"])
def test_a_text_layer_that_says_nothing_is_dropped(junk):
    meanings = dict(enumerate(junk, 1))
    data = cid_pdf("BT /F 12 Tf 1 0 0 1 60 300 Tm <" + "000100020003" * 20 + "> Tj ET", meanings)
    reading = pdf.read(data, Limits(), nothing_within)
    assert not set(junk) & set(reading.text)
    assert reading.pages[0].source != "text"


def test_an_empty_page_is_read_as_empty():
    reading = read(Sheet())
    assert [(page.source, page.text) for page in reading.pages] == [("text", "")]
    assert reading.notes == ("No text was found in the PDF.",)


def test_a_picture_without_text_is_none_that_was_read():
    reading = read(Sheet().picture(0, 0, 595, 842, picture()))
    assert [(page.source, page.text) for page in reading.pages] == [("none", "")]
    assert any("page 1" in note and "no text was found in its picture" in note for note in reading.notes)
    assert reading.pages[0].scan is not None


def test_without_time_a_scan_is_left_and_named():
    reading = read(*[Sheet().text(72, 72, "A page with text of its own")] * 2, SCAN, SCAN, limits=Limits(timeout_s=0.2))
    assert reading.pages[0].source == "text"
    left = [page.number for page in reading.pages if page.source == "none"]
    assert left
    assert any("no time left" in note and str(left[-1]) in note for note in reading.notes)


def test_a_letterhead_that_is_a_picture_is_read_in_its_place():
    head = picture("Village Bakery", "IBAN DE12 3456 7890", size=(900, 220), letters=50)
    sheet = (
        Sheet()
        .picture(60, 40, 360, 113, head)
        .lines(72, 200, "Dear customers, thank you for what you\nbought of us on the first of May.")
    )
    (page,) = read(sheet).pages
    assert [block.kind for block in page.blocks] == ["picture", "paragraph"]
    assert "Village Bakery" in page.blocks[0].text
    assert page.source == "text"


def test_pictures_of_a_long_document_are_left_to_those_who_look_at_it():
    sheet = (
        Sheet()
        .picture(60, 40, 360, 113, picture("Village Bakery", size=(900, 220), letters=50))
        .text(72, 200, "The text of the page")
    )
    assert "Bakery" not in read(*[sheet] * 9).text


def test_a_picture_under_text_is_a_background():
    sheet = Sheet().picture(60, 40, 500, 300, picture("Village Bakery", size=(900, 220), letters=50))
    sheet.lines(
        70,
        60,
        "Lines of text that stand over the picture, and say all that\nthere is to be said of it to those who read\n"
        * 8,
    )
    assert not any(block.kind == "picture" for page in read(sheet).pages for block in page.blocks)


def test_text_that_cannot_be_seen_is_read_and_named():
    reading = read(Sheet().text(72, 72, "What everybody sees").text(72, 90, "and what nobody does", mode=3))
    assert "and what nobody does" in reading.text
    assert any("cannot be seen" in note and "page 1" in note for note in reading.notes)
