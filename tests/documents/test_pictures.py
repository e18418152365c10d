"""Pictures: allowed by what they are, bounded before anything is decoded."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.documents.drafting import MAX_PICTURE_BYTES
from orchestrator.documents.reading import Unreadable
from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.documents.tiff import count_pages


def encoded(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, kind)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """The header of a PNG of any size, and next to nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def row(folder: Path, data: bytes, name: str, options: RowOptions | None = None) -> dict[str, Any]:
    (folder / name).write_bytes(data)
    (line,) = rows_of(folder / name, options)
    return json.loads(line)


@pytest.mark.parametrize("kind, name", [("PNG", "a.png"), ("JPEG", "a.JPG"), ("WEBP", "a.webp"), ("GIF", "a.gif")])
def test_a_picture_is_sent_as_it_is_with_a_question(tmp_path, kind, name):
    data = encoded(kind)
    (message,) = row(tmp_path, data, name)["body"]["messages"]
    text, picture = message["content"]
    assert text == {"type": "text", "text": "Describe this page."}
    assert picture["image_url"]["url"] == f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def test_the_instructions_are_the_question(tmp_path):
    (message,) = row(tmp_path, encoded("PNG"), "a.png", RowOptions(instructions="What is the total?"))["body"][
        "messages"
    ]
    assert message["content"][0]["text"] == "What is the total?"


def test_a_picture_is_what_its_bytes_say_and_not_its_suffix(tmp_path):
    (message,) = row(tmp_path, encoded("PNG"), "a.jpg")["body"]["messages"]
    assert message["content"][1]["image_url"]["url"].startswith("data:image/png;")


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_file"),
        (b"BM" + bytes(100), "unsupported_file"),
        (b"II*\0" + bytes(100), "unreadable_file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_file"),
        (b"\x89PNG\r\n\x1a\n", "unreadable_file"),
        (b"\xff\xd8\xff\xe0", "unreadable_file"),
        (b"RIFF\0\0\0\0WEBP", "unreadable_file"),
        (b"GIF89a", "unreadable_file"),
        (png_of(8_000, 8_000), "file_too_large"),
        (png_of(12_000, 12_000), "file_too_large"),
        (png_of(50_000, 50_000), "file_too_large"),
        (png_of(0, 10), "unreadable_file"),
    ],
)
def test_a14_what_is_no_picture_or_too_large_is_refused_by_its_header(tmp_path, data, code):
    assert row(tmp_path, data, "a.png")["error"]["code"] == code


def test_a14_a_file_over_20_mib_is_refused(tmp_path):
    assert row(tmp_path, encoded("PNG") + bytes(MAX_PICTURE_BYTES), "a.png")["error"]["code"] == "file_too_large"


def test_pictures_do_not_go_to_an_endpoint_of_text(tmp_path):
    error = row(tmp_path, encoded("PNG"), "a.png", RowOptions(endpoint="/v1/embeddings"))["error"]
    assert error["code"] == "unsupported_file"


def test_the_pages_of_a_tiff_are_shown_as_jpegs(tmp_path):
    pages = [Image.new("L", (40, 30), shade) for shade in (0, 128, 255)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    (message,) = row(tmp_path, buffer.getvalue(), "a.tif")["body"]["messages"]
    text, *shown = message["content"]
    assert text["text"] == "Describe this page."
    data = [base64.b64decode(one["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) for one in shown]
    assert [Image.open(io.BytesIO(one)).convert("L").getpixel((5, 5)) for one in data] == pytest.approx(
        [0, 128, 255], abs=2
    )


def test_a14_a_tiff_with_too_many_pages_is_refused_before_one_is_decoded(tmp_path):
    page, buffer = Image.new("1", (8, 8)), io.BytesIO()
    page.save(buffer, "TIFF", save_all=True, append_images=[page] * 20)
    assert row(tmp_path, buffer.getvalue(), "a.tiff")["error"]["code"] == "too_many_pages"
    again = buffer.getvalue()[:4] + struct.pack("<I", 8) + b"\0\0" + struct.pack("<I", 8)  # a chain without end
    assert row(tmp_path, again, "a.tiff")["error"]["code"] == "too_many_pages"


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_pages_of_a_tiff_are_counted_in_each_of_its_forms(is_big, order):
    mark = b"II" if order == "<" else b"MM"
    count, entry, place = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    head = mark + struct.pack(f"{order}H", 43 if is_big else 42) + (struct.pack(f"{order}HH", 8, 0) if is_big else b"")
    at = len(head) + struct.calcsize(f"={place}")
    data = head + struct.pack(f"{order}{place}", at)
    for number in range(3):
        size = struct.calcsize(f"={count}{place}") + 2 * entry
        following = len(data) + size if number < 2 else 0
        data += struct.pack(f"{order}{count}", 2) + bytes(2 * entry) + struct.pack(f"{order}{place}", following)
    assert count_pages(io.BytesIO(data), 3) == 3
    with pytest.raises(Unreadable) as caught:
        count_pages(io.BytesIO(data), 2)
    assert caught.value.code == "too_many_pages"
    for cut in range(len(data)):
        with pytest.raises(Unreadable):
            count_pages(io.BytesIO(data[:cut]), 3)
