"""What was filled into a PDF's form stands where it was filled in, and what readers noted on its pages is not lost."""

from __future__ import annotations

import pytest

from orchestrator.documents.readers import pdf
from orchestrator.documents.reading import Block, Limits, Page, Reading
from tests.documents.readers.made import nothing_within
from tests.documents.readers.pdf_writer import Sheet
from tests.documents.readers.pdf_writer import pdf as made


def blocks(sheet: Sheet) -> list[Block]:
    reading = pdf.read(made(sheet, form=True), Limits(), nothing_within)
    return [block for page in reading.pages for block in page.blocks]


def field(kind: str, rest: str, name: str = "field") -> str:
    return f"/Subtype /Widget /FT /{kind} /T ({name}) {rest}"


def test_a_filled_field_is_read_beside_its_label():
    sheet = Sheet().text(72, 72, "Name:").annotate(110, 62, 250, 76, field("Tx", "/V (Ada Lovelace)"))
    sheet.text(72, 96, "Born:").annotate(110, 86, 250, 100, field("Tx", "/V <FEFF0031003800310035>", "born"))
    assert [block.text for block in blocks(sheet)] == ["Name: Ada Lovelace\nBorn: 1815"]


def test_a_field_of_several_lines_keeps_them():
    sheet = (
        Sheet()
        .text(72, 72, "Address:")
        .annotate(72, 80, 300, 140, field("Tx", "/Ff 4096 /V (12 St James Square\\rLondon)"))
    )
    assert "12 St James Square\nLondon" in "\n".join(block.text for block in blocks(sheet))


@pytest.mark.parametrize("state, mark", [("Yes", "[x]"), ("Off", "[ ]")])
def test_boxes_to_tick_show_whether_they_are_ticked(state, mark):
    looks = f"/AS /{state} /V /{state} /AP << /N << /Yes {{look}} /Off {{look}} >> >>"
    sheet = Sheet().text(72, 72, "Member of the society").annotate(180, 62, 192, 74, field("Btn", looks))
    assert [block.text for block in blocks(sheet)] == [f"Member of the society {mark}"]


def test_what_was_chosen_from_a_list_is_read():
    sheet = (
        Sheet()
        .text(72, 72, "Country:")
        .annotate(120, 62, 250, 76, field("Ch", "/Ff 131072 /Opt [(France) (Poland)] /V (Poland)"))
    )
    assert [block.text for block in blocks(sheet)] == ["Country: Poland"]


def test_empty_and_hidden_fields_say_nothing():
    sheet = Sheet().text(72, 72, "Name:").annotate(110, 62, 250, 76, field("Tx", ""))
    sheet.annotate(110, 82, 250, 96, field("Tx", "/V (not to be seen) /F 2"))
    assert [block.text for block in blocks(sheet)] == ["Name:"]


def test_filled_fields_make_no_heading_of_their_line():
    sheet = Sheet().lines(72, 40, "Words of the form in their usual size,\nand more of them to be sure")
    sheet.text(72, 90, "Tick").annotate(
        110, 70, 140, 100, field("Btn", "/AS /Off /AP << /N << /Yes {look} /Off {look} >> >>")
    )
    assert not any(block.kind == "heading" for block in blocks(sheet))


def test_comments_become_notes_with_their_place_and_text_typed_on_the_page_is_text():
    sheet = Sheet().text(72, 72, "The text").annotate(300, 100, 320, 120, "/Subtype /Text /Contents (Is this right?)")
    sheet.annotate(72, 200, 300, 220, "/Subtype /FreeText /Contents (Typed on top)")
    told = blocks(sheet)
    assert [(block.kind, block.text) for block in told] == [
        ("paragraph", "The text"), ("note", "Comment: Is this right?"), ("paragraph", "Typed on top"),
    ]  # fmt: skip
    assert told[1].box == pytest.approx((300 / 595, 100 / 842, 320 / 595, 120 / 842), abs=0.001)


def test_links_keep_their_text_and_add_nothing():
    sheet = (
        Sheet()
        .text(72, 72, "See the handbook")
        .annotate(72, 60, 160, 76, "/Subtype /Link /Contents (x) /A << /S /URI /URI (https://example.invalid) >>")
    )
    assert [block.text for block in blocks(sheet)] == ["See the handbook"]


def test_a_file_that_is_pinned_to_a_page_is_read():
    spec = "/FS << /Type /Filespec /F (pinned.txt) /UF (pinned.txt) /EF << /F {look} >> >>"
    sheet = Sheet().text(72, 72, "The text").annotate(300, 100, 320, 120, f"/Subtype /FileAttachment {spec}")
    data = (
        made(sheet)
        .replace(b"<< /Length 0 /Type /XObject", b"<< /Length 5 /Type /XObject")
        .replace(b"stream\n\nendstream", b"stream\nhello\nendstream")
    )

    def within(content: bytes, name: str) -> Reading:
        return Reading("text", (Page(1, (Block(f"{name}: {content.decode()}"),)),))

    assert [page.text for page in pdf.read(data, Limits(), within).pages] == ["The text", "pinned.txt: hello"]
