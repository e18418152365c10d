"""PDFs made to do harm, broken ones and locked ones: each gives its text or one clear error, and nothing in them is run or fetched."""

from __future__ import annotations

import io
import random
import resource
import sys
import zlib

import pypdfium2
import pytest
from PIL import Image

from orchestrator.documents.readers import pdf
from orchestrator.documents.reading import Block, Limits, Page, Reading, Unreadable
from tests.documents.readers.made import nothing_within, refused
from tests.documents.readers.pdf_writer import Sheet, Writer, picture_of, stream
from tests.documents.readers.pdf_writer import pdf as made

HELLO = Sheet().text(72, 72, "Hello from the page")


def read(data: bytes, **limits: object) -> Reading:
    return pdf.read(data, Limits(**limits), nothing_within)  # type: ignore[arg-type]


def refusal(data: bytes, **limits: object) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(data, **limits)
    return caught.value


def raw(*objects: bytes, root: int = 1) -> bytes:
    writer = Writer()
    for content in objects:
        writer.add(content)
    return writer.written(root)


def test_a_locked_pdf_is_opened_with_its_password_only():
    data = made(HELLO, password="sesame")
    assert read(data, password="sesame").text == "Hello from the page"
    for limits, words in [({}, "needs a password"), ({"password": "wrong"}, "password given does not open")]:
        error = refusal(data, **limits)
        assert error.code == "password_required"
        assert words in error.message
        assert "save the PDF without a password" in error.message
        assert "wrong" not in error.message


def test_a_pdf_that_is_locked_with_an_empty_password_just_opens():
    assert read(made(HELLO, password="")).text == "Hello from the page"


def test_a13_more_pages_than_allowed_are_refused_by_their_count_before_any_is_read():
    many = made(*[HELLO] * 12)
    assert len(read(many, max_pages=12).pages) == 12
    error = refusal(many, max_pages=11)
    assert (error.code, "12 pages" in error.message, "Split it" in error.message) == ("too_many_pages", True, True)


def test_a13_a_hundred_thousand_pages_are_refused():
    kids = b" ".join([b"3 0 R"] * 100_000)
    data = raw(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 100000 /Kids [%s] >>" % kids,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
    )
    error = refusal(data)
    assert (error.code, "100,000 pages" in error.message) == ("too_many_pages", True)


def test_a13_a_count_that_lies_costs_nothing():
    for count in (1_000_000_000, 1, -5):
        assert read(made(HELLO, HELLO, count=count)).text.startswith("Hello from the page")
    error = refusal(made(HELLO, count=1_000_000))  # what PDFium takes for true
    assert (error.code, "1,000,000 pages" in error.message) == ("too_many_pages", True)


def test_a13_text_without_end_is_refused():
    sheet = Sheet()
    for index in range(40):
        sheet.text(20, 20 + 15 * index, "many words on a line of it " * 3)
    error = refusal(made(*[sheet] * 3), max_chars=5_000)
    assert (error.code, "5,000" in error.message, "Split it" in error.message) == ("text_too_long", True, True)


@pytest.mark.parametrize("times", [1, 2])
def test_a13_a_flate_bomb_is_refused_before_it_is_unpacked(times):
    bomb = b" " * (40 * 1024 * 1024)
    for _ in range(times):
        bomb = zlib.compress(bomb, 9)
    filters = " ".join(["/FlateDecode"] * times)
    data = raw(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R >>",
        stream(bomb, f"/Filter [{filters}]"),
    )
    assert len(data) < 60_000
    error = refusal(data, max_unpacked_bytes=16 * 1024 * 1024)
    assert (error.code, "larger than 16,777,216 bytes" in error.message) == ("file_too_large", True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(data, max_unpacked_bytes=16 * 1024 * 1024)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 16 * 1024 * 1024


def test_a13_what_is_packed_well_but_within_the_limit_is_read():
    sheet = Sheet().text(72, 72, "Hello from the page")
    sheet.drawn.append(b"% nothing" + b" " * 3_000_000)
    assert read(made(sheet, packed=True)).text == "Hello from the page"


def test_a13_tables_of_contents_that_point_at_themselves_end():
    data = made(HELLO)
    at = data.rindex(b"xref\n0 ")
    looped = data.replace(b"trailer << ", b"trailer << /Prev %d " % at)
    assert read(looped).text == "Hello from the page"


def test_a13_pages_that_hold_themselves_end():
    data = raw(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [2 0 R] >>")
    assert refusal(data).code == "unreadable_file"


def test_a13_forms_that_draw_themselves_end():
    data = raw(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R /Resources << /XObject << /F 5 0 R >> >> >>",
        stream(b"/F Do"),
        stream(b"/F Do", "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /F 5 0 R >> >>"),
    )
    assert len(read(data).pages) == 1


def test_a13_javascript_is_not_even_built_in_and_actions_do_nothing():
    assert not {"V8", "XFA"} & set(pypdfium2.PDFIUM_INFO.flags)
    action = "/OpenAction << /S /JavaScript /JS (app.alert\\(1\\); this.getField\\('f'\\).value = 'changed') >>"
    sheet = Sheet().text(72, 72, "Name:").annotate(110, 62, 200, 76, "/Subtype /Widget /FT /Tx /T (f) /V (as it was)")
    assert read(made(sheet, form=True, catalog=action)).text == "Name: as it was"
    fetched = "/OpenAction << /S /URI /URI (https://example.invalid/) >> /AA << /WC << /S /Launch /F (sh) >> >>"
    assert read(made(HELLO, catalog=fetched)).text == "Hello from the page"


def test_a13_embedded_files_are_read_within_the_bounds_of_the_whole():
    data = made(HELLO, files={"note.txt": b"inner text", "empty.txt": b""})
    asked: list[tuple[str, bytes]] = []

    def within(content: bytes, name: str) -> Reading:
        asked.append((name, content))
        return Reading("text", (Page(1, (Block(content.decode()),)),))

    reading = pdf.read(data, Limits(), within)
    assert asked == [("note.txt", b"inner text")]
    assert [(page.number, page.name, page.text) for page in reading.pages] == [
        (1, "", "Hello from the page"), (2, "note.txt", "inner text"),
    ]  # fmt: skip
    assert any("'empty.txt'" in note and "not read" in note for note in reading.notes)


def test_a13_an_embedded_file_that_is_refused_is_named_with_the_reason():
    reading = pdf.read(made(HELLO, files={"virus.exe": b"MZ"}), Limits(), refused)
    assert reading.text == "Hello from the page"
    assert any("'virus.exe'" in note and "Such files are not read" in note for note in reading.notes)


def test_a13_no_more_files_than_allowed_are_taken_from_a_pdf():
    asked = []

    def within(content: bytes, name: str) -> Reading:
        asked.append(name)
        return Reading("text", ())

    files = {f"{index:03}.txt": b"x" for index in range(20)}
    reading = pdf.read(made(HELLO, files=files), Limits(max_parts=5), within)
    assert len(asked) == 5
    assert any("More than 5 files" in note for note in reading.notes)


BOMB = picture_of(60_000, 60_000, b"\0" * 1000)


def test_a14_a_picture_bomb_beside_text_is_never_unpacked():
    sheet = (
        Sheet()
        .lines(72, 72, "Hello from the page, which has\nmore than a picture to show")
        .picture(100, 300, 400, 600, BOMB)
    )
    assert read(made(sheet)).text == "Hello from the page, which has more than a picture to show"


def test_a14_a_page_that_is_a_picture_bomb_is_told_and_left():
    reading = read(made(Sheet().picture(0, 0, 595, 842, BOMB), HELLO))
    assert [(page.source, page.text) for page in reading.pages] == [("none", ""), ("text", "Hello from the page")]
    assert any("page 1" in note and "60,000 x 60,000 pixels" in note for note in reading.notes)


def test_a14_a_page_with_a_picture_bomb_is_not_drawn():
    with pytest.raises(Unreadable, match="60,000 x 60,000 pixels, at most 40,000,000") as caught:
        pdf.render(made(Sheet().picture(0, 0, 595, 842, BOMB)), [1], Limits())
    assert caught.value.code == "file_too_large"


@pytest.mark.parametrize(
    "wide, high, long_side_px",
    [
        (595, 842, 1600),
        (842, 595, 800),
        (14_400, 14_400, 1600),
        (3, 14_400, 1600),
        (200_000, 200_000, 4000),
        (1, 1, 1600),
    ],
)
def test_pages_of_any_size_are_drawn_within_bounds(wide, high, long_side_px):
    (picture,) = pdf.render(made(Sheet(wide, high).text(1, 1, "x")), [1], Limits(max_pixels=4_000_000), long_side_px)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        assert 1 <= max(image.size) <= long_side_px
        assert image.width * image.height <= 4_100_000


def test_pages_are_drawn_in_the_order_asked_for_and_upright():
    data = made(Sheet(), Sheet(high=400, rotate=90))
    sizes = []
    for picture in pdf.render(data, [2, 1, 2], Limits()):
        with Image.open(io.BytesIO(picture)) as image:
            sizes.append(image.width > image.height)
    assert sizes == [False, False, False]


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_page_that_is_not_there_is_not_drawn(number):
    with pytest.raises(Unreadable, match="has no page"):
        pdf.render(made(HELLO), [number], Limits())


def test_a_page_that_takes_too_long_to_draw_is_left():
    sheet = Sheet()
    sheet.drawn.append(b"0 0 m 500 800 l S " * 20_000)
    with pytest.raises(Unreadable, match="too long to draw"):
        pdf.render(made(sheet), [1], Limits(timeout_s=0.0))


def test_a_pdf_that_takes_too_long_is_refused_with_how_far_it_came():
    error = refusal(made(HELLO, HELLO), timeout_s=0)
    assert (error.code, "0 of the PDF's 2 pages" in error.message, "time limit" in error.message) == (
        "too_many_pages",
        True,
        True,
    )


def test_one_broken_page_costs_itself_only():
    data = made(HELLO, Sheet().text(72, 72, "the page that breaks"), HELLO)
    at = data.index(b"(the page that breaks)")
    number = int(data.rindex(b" 0 obj", 0, at) and data[: data.rindex(b" 0 obj", 0, at)].split()[-1])
    broken = data.replace(b"/Contents %d 0 R" % number, b"/Contents 999 0 R", 1)
    reading = read(broken)
    assert [page.text for page in reading.pages] == ["Hello from the page", "", "Hello from the page"]


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7", b"%PDF-1.7\n" + bytes(range(256)) * 40, made(HELLO)[:300], b"no pdf at all"]
)
def test_what_is_no_pdf_or_cut_says_so(data):
    error = refusal(data)
    assert error.code == "unreadable_file"
    assert "Save it anew" in error.message


def test_an_empty_file_and_one_too_large_are_refused_before_anything_else():
    assert refusal(b"").code == "empty_file"
    assert refusal(made(HELLO), max_bytes=100).code == "file_too_large"


@pytest.mark.parametrize("seed", range(12))
def test_a13_a_pdf_with_broken_bytes_gives_text_or_one_clear_error(seed):
    chance = random.Random(seed)
    sheet = (
        Sheet()
        .lines(72, 72, "Some lines of text\nin a document")
        .grid([72, 200, 300], [300, 320, 340])
        .text(80, 314, "a")
    )
    sheet.annotate(100, 400, 200, 420, "/Subtype /Widget /FT /Tx /T (f) /V (v)").picture(
        300, 300, 400, 400, picture_of(9, 9, b"\x80" * 81)
    )
    data = bytearray(made(sheet, HELLO, form=True, files={"a.txt": b"x"}))
    for _ in range(60):
        data[chance.randrange(len(data))] = chance.randrange(256)
    outcome = _outcome(bytes(data))
    assert outcome == "pdf" or outcome.endswith(".")
    assert _outcome(bytes(data)) == outcome  # nothing of the first time is left


def _outcome(data: bytes) -> str:
    try:
        return pdf.read(data, Limits(), refused).kind
    except Unreadable as error:
        return f"{error.code}: {error.message}"


def test_a13_a_page_with_more_text_than_fits_is_refused_before_it_is_taken_in():
    sheet = Sheet()
    for index in range(520):
        sheet.text(10, 10 + 1.5 * index, "abcdefghi " * 100, size=1)
    error = refusal(made(sheet, packed=True))
    assert (error.code, "at most 500,000" in error.message) == ("text_too_long", True)


def test_a13_ten_thousand_words_strewn_over_a_page_are_read_in_time():
    chance = random.Random(7)
    sheet = Sheet()
    for index in range(10_000):
        sheet.text(chance.uniform(0, 560), chance.uniform(10, 830), f"w{index}", size=4)
    assert len(set(read(made(sheet)).text.replace("|", " ").split())) > 9_000
