"""Scripts that run from right to left or down the page, and signs that a file tells in odd ways."""

from __future__ import annotations

import io

import numpy as np
from PIL import ImageFont

from orchestrator.documents.readers import pdf, pdf_letters
from orchestrator.documents.reading import Block, Limits
from tests.documents.readers.made import nothing_within
from tests.documents.readers.pdf_writer import Sheet, Writer, stream
from tests.documents.readers.pdf_writer import pdf as made


def blocks(data: bytes) -> list[Block]:
    reading = pdf.read(data, Limits(), nothing_within)
    return [block for page in reading.pages for block in page.blocks]


def cid_pdf(content: str, meanings: dict[int, str], *, vertical: bool = False, wide: int = 1000) -> bytes:
    """A PDF whose glyphs are numbers, and that says with a table what each of them means."""
    told = "\n".join(f"<{code:04x}> <{text.encode('utf-16-be').hex()}>" for code, text in meanings.items())
    cmap = f"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange {len(meanings)} beginbfchar\n{told}\nendbfchar endcmap end"
    writer = Writer()
    for one in (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        stream(content.encode()),
        f"<< /Type /Font /Subtype /Type0 /BaseFont /Made /Encoding /Identity-{'V' if vertical else 'H'} /DescendantFonts [6 0 R] /ToUnicode 7 0 R >>".encode(),
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Made /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /CIDToGIDMap /Identity /DW {wide} /FontDescriptor 8 0 R >>".encode(),
        stream(cmap.encode()),
        b"<< /Type /FontDescriptor /FontName /Made /Flags 4 /FontBBox [0 -200 1000 800] /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 /FontFile2 9 0 R >>",
        stream(_some_font(), packed=True),
    ):
        writer.add(one)
    return writer.written(1)


def _some_font() -> bytes:
    """Any font with glyphs that are drawn: PDFium leaves out vertical text of which nothing can be seen."""
    font = ImageFont.load_default(size=10).path
    assert isinstance(font, io.BytesIO)
    return font.getvalue()


def shown(text: str, meanings: dict[int, str]) -> str:
    """The glyphs of a text, in this order, as PDF writes them."""
    codes = {meaning: code for code, meaning in meanings.items()}
    return f"<{''.join(f'{codes[letter]:04x}' for letter in text)}>"


def meanings_of(*letters: str) -> dict[int, str]:
    return dict(enumerate(letters, 30))


def test_a_line_that_runs_from_right_to_left_is_read_from_its_right_end():
    text = "שלום עולם"
    meanings = meanings_of(*dict.fromkeys(text))
    data = cid_pdf(f"BT /F 12 Tf 1 0 0 1 100 300 Tm {shown(text[::-1], meanings)} Tj ET", meanings, wide=600)
    assert [block.text for block in blocks(data)] == [text]


def test_words_of_another_direction_keep_their_letters_and_their_place():
    hebrew, latin = "שלום", "PDF"
    meanings = meanings_of(*dict.fromkeys(hebrew + latin))
    content = f"BT /F 12 Tf 1 0 0 1 200 300 Tm {shown(hebrew[::-1], meanings)} Tj 1 0 0 1 170 300 Tm {shown(latin, meanings)} Tj ET"
    assert [block.text for block in blocks(cid_pdf(content, meanings, wide=600))] == ["שלום PDF"]


def test_lam_and_alef_of_one_sign_are_in_the_order_in_which_they_are_read():
    meanings = {1: "س", 2: "لا", 3: "م"}
    data = cid_pdf("BT /F 12 Tf 1 0 0 1 100 300 Tm <000300020001> Tj ET", meanings, wide=600)
    assert [block.text for block in blocks(data)] == ["سلام"]


def test_columns_of_signs_are_read_downwards_and_from_right_to_left():
    meanings = meanings_of(*"日本語縦書き")
    content = f"BT /F 12 Tf 1 0 0 1 300 300 Tm {shown('日本語', meanings)} Tj 1 0 0 1 276 300 Tm {shown('縦書き', meanings)} Tj ET"
    (block,) = blocks(cid_pdf(content, meanings, vertical=True))
    assert block.text.replace("\n", "") == "日本語縦書き"
    left, top, right, bottom = block.box or (0, 0, 0, 0)
    assert left < 276 / 400 < right
    assert top < 0.3 < bottom


def test_lines_of_a_script_without_spaces_are_joined_without_any():
    meanings = meanings_of(*dict.fromkeys("可替换为所需图片的文字"))
    content = f"BT /F 12 Tf 1 0 0 1 60 300 Tm {shown('可替换为所需', meanings)} Tj 1 0 0 1 60 285 Tm {shown('图片的文字', meanings)} Tj ET"
    (block,) = blocks(cid_pdf(content, meanings))
    assert block.text == "可替换为所需图片的文字"


def test_ligatures_are_letters_and_signs_beyond_the_first_plane_stay_whole():
    meanings = {1: "o", 2: "ffi", 3: "ce", 4: "\ufb01", 5: "x", 6: "\U0001f600"}
    data = cid_pdf(
        "BT /F 12 Tf 1 0 0 1 60 300 Tm <000100020003> Tj 1 0 0 1 60 200 Tm <00040005> Tj 1 0 0 1 60 100 Tm <0006> Tj ET",
        meanings,
    )
    assert [block.text for block in blocks(data)] == ["office", "fix", "\U0001f600"]


def test_bullets_of_sign_fonts_are_bullets_and_other_signs_of_private_use_say_nothing():
    assert pdf_letters.plain("\uf0b7 first\ue012") == "\u2022 first"
    assert pdf_letters.any_odd(np.array([0xF0B7]))


def test_soft_hyphens_part_no_word():
    lines = "A line with a word that is parted softly as this un\u00ad\nusual one, and nothing else to be seen."
    (block,) = blocks(made(Sheet().lines(72, 100, lines)))
    assert block.text == "A line with a word that is parted softly as this unusual one, and nothing else to be seen."
