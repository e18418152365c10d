"""PDFs as requests: their text with marks of pages, and pictures of the pages that have none."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.media.picture import MAX_IMAGE_PIXELS
from tests.documents.readers.pdf_writer import Sheet, picture_of
from tests.documents.readers.pdf_writer import pdf as written
from workers import media

ENCRYPTED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"


def pdf(*pages: str, size: str = "0 0 612 792", trailer: bytes = b"") -> bytes:
    """A small PDF with a text on each page, written by hand."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * index} 0 R" for index in range(count))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {count} >>"]
    for index, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 20 20 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{size}] /Resources << /Font << /F1 {font} >> >> "
            f"/Contents {4 + 2 * index} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    identity = b"/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    out += b"trailer\n<< /Size %d /Root 1 0 R %s %s >>\n" % (len(objects) + 1, identity, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


LONG = "This page has a text layer with enough characters on it."


def row(folder: Path, data: bytes, options: RowOptions | None = None) -> dict[str, Any]:
    (folder / "a.pdf").write_bytes(data)
    (line,) = rows_of(folder / "a.pdf", options)
    return json.loads(line)


def test_the_text_layer_is_the_question_with_marks_of_pages(tmp_path):
    made = row(tmp_path, pdf(LONG, f"{LONG} Again."), RowOptions(instructions="Sum up."))
    assert made["body"]["messages"] == [
        {"role": "system", "content": "Sum up."},
        {"role": "user", "content": f"[Page 1]\n{LONG}\n\n[Page 2]\n{LONG} Again."},
    ]


def test_a_pdf_without_a_text_layer_goes_as_pictures_of_its_pages(tmp_path):
    (message,) = row(tmp_path, pdf("", "x"))["body"]["messages"]
    text, *pages = message["content"]
    assert text["text"] == "Describe this page."
    assert len(pages) == 2
    for shown in pages:
        head, data = shown["image_url"]["url"].split(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) == 1600


@pytest.mark.parametrize("size", ["0 0 14400 14400", "0 0 1 14400", "0 0 100000000 100000000", "0 0 0 0", "0 0 -5 -5"])
def test_a13_pages_of_any_size_are_drawn_within_bounds_or_refused(tmp_path, size):
    made = row(tmp_path, pdf("", size=size))
    assert "error" in made or len(json.dumps(made)) < 2_000_000


@pytest.mark.parametrize("size", ["0 0 612 792", "0 0 595 842", "0 0 3000 3000", "0 0 300 2400", "0 0 100 100"])
def test_a_page_goes_with_no_more_pixels_than_a_model_gets_and_is_not_scaled_twice(tmp_path, size):
    (message,) = row(tmp_path, pdf("", size=size))["body"]["messages"]
    data = base64.b64decode(message["content"][1]["image_url"]["url"].partition(",")[2])
    width, height = Image.open(io.BytesIO(data)).size
    assert width * height <= MAX_IMAGE_PIXELS
    assert media.picture_of(data) == ("jpeg", data)


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (pdf(LONG)[:60], "unreadable_file"),
        (pdf(LONG, trailer=ENCRYPTED), "password_required"),
        (pdf(*[LONG] * 501), "too_many_pages"),
        (pdf(*[""] * 21), "too_many_pages"),
        (pdf(), "unreadable_file"),
    ],
    ids=["empty", "cut", "locked", "501 pages", "21 scanned pages", "no pages"],
)
def test_a13_what_cannot_be_read_says_why(tmp_path, data, code):
    error = row(tmp_path, data)["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")


def test_a_text_over_the_limit_is_refused_and_never_cut(tmp_path):
    assert row(tmp_path, pdf(LONG, LONG), RowOptions(max_input_chars=60))["error"]["code"] == "text_too_long"


def test_a_pdf_is_known_by_its_content_and_so_is_what_is_none(tmp_path):
    assert row(tmp_path, b"not a PDF at all")["body"]["messages"][0]["content"] == "not a PDF at all"
    (tmp_path / "b.txt").write_bytes(pdf(LONG))
    (line,) = rows_of(tmp_path / "b.txt")
    assert json.loads(line)["body"]["messages"][0]["content"] == f"[Page 1]\n{LONG}"


def test_of_a_pdf_with_some_scanned_pages_those_are_shown_where_they_stand(tmp_path):
    def page(text: str) -> Sheet:
        return Sheet().text(60, 80, text).text(60, 100, LONG)

    scan = Sheet().picture(0, 0, 595, 842, picture_of(60, 80, bytes(60 * 80)))
    made = row(tmp_path, written(page("One."), page("Two."), scan, page("Four.")), RowOptions(instructions="Sum up."))
    (message,) = made["body"]["messages"]
    question, before, shown, after = message["content"]
    assert question["text"] == "Sum up."
    assert before["text"].startswith("[Page 1]\nOne.")
    assert "[Page 2]\nTwo." in before["text"]
    assert before["text"].endswith("[Page 3]")
    assert shown["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert after["text"].startswith("[Page 4]\nFour.")


def test_scanned_pages_do_not_go_to_an_endpoint_of_text(tmp_path):
    options = RowOptions(endpoint="/v1/embeddings")
    assert row(tmp_path, pdf(""), options)["error"]["code"] == "unsupported_file"
    assert row(tmp_path, pdf(LONG), options)["body"]["input"] == f"[Page 1]\n{LONG}"
