"""Pictures of every kind are read, and those made to do harm are refused before they are decoded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from orchestrator.documents.readers import picture
from orchestrator.documents.reading import Limits, Reading, Unreadable

TEXT = "Invoice 4711 of the village bakery"


def drawn(mode: str = "RGB", text: str = TEXT) -> Image.Image:
    page = Image.new("RGB", (700, 160), "white")
    ImageDraw.Draw(page).text((40, 50), text, fill="black", font=ImageFont.load_default(size=34))
    return page.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def within(data: bytes, name: str) -> Reading:
    raise AssertionError(f"a picture holds no other document, such as {name} of {len(data)} bytes")


def read(data: bytes, limits: Limits | None = None) -> Reading:
    return picture.read(data, limits or Limits(), within)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_each_kind_is_read_and_named_by_its_content(kind):
    reading = read(encoded(drawn(), kind))
    assert (reading.kind, reading.text, reading.notes) == (kind.lower(), TEXT, ())
    assert [(page.number, page.source) for page in reading.pages] == [(1, "ocr")]


@pytest.mark.parametrize(
    "mode, kind",
    [("1", "TIFF"), ("L", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("YCbCr", "JPEG")],
)
def test_each_way_to_store_shades_is_read(mode, kind):
    image = (
        drawn().convert(mode)
        if mode != "LAB"
        else Image.merge("LAB", [drawn("L"), *[Image.new("L", (700, 160), 128)] * 2])
    )
    assert read(encoded(image, kind)).text == TEXT


def test_shades_of_16_bits_are_scaled_and_not_cut_off():
    deep = np.asarray(drawn("L"), np.uint16) * 12 + 800  # as scanners do that have 12 bits
    assert read(encoded(Image.fromarray(deep), "PNG")).text == TEXT
    assert read(encoded(Image.fromarray(deep), "TIFF")).text == TEXT


def test_what_can_be_seen_through_lies_on_white():
    glass = Image.new("RGBA", (700, 160), (0, 0, 0, 0))
    ImageDraw.Draw(glass).text((40, 50), TEXT, fill=(0, 0, 0, 255), font=ImageFont.load_default(size=34))
    assert read(encoded(glass, "PNG")).text == TEXT
    assert read(encoded(glass, "WEBP", lossless=True)).text == TEXT


@pytest.mark.parametrize("orientation, turn", [(3, 180), (6, 90), (8, 270)])
def test_the_camera_s_orientation_is_followed_before_reading(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    reading = read(encoded(drawn().rotate(turn, expand=True), "JPEG", exif=exif, quality=95))
    assert reading.text == TEXT
    scan = reading.pages[0].scan
    assert scan is not None
    assert scan.rotation == 0


def test_an_orientation_that_is_no_number_costs_no_text():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0"
    assert read(encoded(drawn(), "JPEG", exif=exif)).text == TEXT


def test_every_page_of_a_tiff_is_read():
    pages = [drawn(text=f"This is page number {name}") for name in ("one", "two", "three")]
    reading = read(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [page.text for page in reading.pages] == [f"This is page number {name}" for name in ("one", "two", "three")]
    assert [page.number for page in reading.pages] == [1, 2, 3]


def test_pages_of_a_tiff_for_which_no_time_is_left_are_named_and_those_read_are_kept():
    pages = encoded(drawn("1"), "TIFF", save_all=True, append_images=[drawn("1")] * 2)
    reading = read(pages, Limits(timeout_s=0.001))
    assert [page.source for page in reading.pages] == ["ocr", "none", "none"]
    assert reading.notes == ("There was no time left to read page 2, 3: raise the time limit.",)


def test_frames_are_the_pages_as_they_are_meant_to_be_seen():
    pages = encoded(drawn(), "TIFF", save_all=True, append_images=[Image.new("L", (30, 20))])
    assert [frame.size for frame in picture.frames(pages, Limits())] == [(700, 160), (30, 20)]
    with pytest.raises(Unreadable, match="at most 600 can be read"):
        list(picture.frames(pages, Limits(max_pixels=600)))


def test_a_tiff_of_too_many_pages_is_refused():
    pages = encoded(drawn("1"), "TIFF", save_all=True, append_images=[drawn("1")] * 2)
    with pytest.raises(Unreadable, match=r"more than 2 pages. Split it") as refused:
        read(pages, Limits(max_pages=2))
    assert refused.value.code == "too_many_pages"


def test_a_tiff_whose_pages_go_round_in_a_circle_ends():
    whole = bytearray(encoded(drawn("1"), "TIFF", save_all=True, append_images=[drawn("1", "The second page")]))
    first = struct.unpack_from("<I", whole, 4)[0]
    second_at = first + 2 + 12 * struct.unpack_from("<H", whole, first)[0]
    second = struct.unpack_from("<I", whole, second_at)[0]
    struct.pack_into("<I", whole, second + 2 + 12 * struct.unpack_from("<H", whole, second)[0], first)
    assert len(read(bytes(whole), Limits(max_pages=50)).pages) == 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_what_moves_the_first_picture_is_read_and_the_caller_is_told(kind):
    moving = encoded(drawn(), kind, save_all=True, append_images=[drawn(text="Something else entirely")], duration=200)
    reading = read(moving)
    assert reading.text == TEXT
    assert len(reading.pages) == 1
    assert reading.notes == ("The picture moves, or has further ones behind it: only the first was read.",)


def test_what_follows_a_picture_in_its_file_is_not_looked_at():
    assert read(encoded(drawn(), "PNG") + b"PK\x03\x04" + b"<html><script>alert(1)</script>" * 50).text == TEXT
    assert read(encoded(drawn(), "GIF") + b"%PDF-1.7 trailer").text == TEXT


def test_a_single_pixel_is_a_page_without_text():
    reading = read(encoded(Image.new("RGB", (1, 1), "red"), "PNG"))
    assert [page.source for page in reading.pages] == ["none"]
    assert reading.notes == ("No text was found in the picture: it must be looked at.",)


def png_of(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever it holds."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (8_000, 8_000), (7_000, 6_000)])
def test_a14_a_bomb_is_refused_by_its_header_alone(size, monkeypatch):
    def decode(*_args: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(Unreadable, match="Shrink it") as refused:
        read(png_of(*size))
    assert refused.value.code == "file_too_large"


def test_a_page_of_a_tiff_that_is_too_large_is_refused_as_well():
    pages = encoded(drawn("1"), "TIFF", save_all=True, append_images=[Image.new("1", (1000, 1001))])
    with pytest.raises(Unreadable, match=r"1,000 x 1,001 pixels, at most 1,000,000"):
        read(pages, Limits(max_pixels=1_000_000))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_picture_that_ends_early_gives_one_clear_error(kind):
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 300, 3), dtype=np.uint8))
    whole = encoded(noisy, kind)
    for part in (len(whole) // 2, 40, 13):
        with pytest.raises(Unreadable, match="Save it anew as PNG or JPEG, or fetch it again") as refused:
            read(whole[:part])
        assert refused.value.code == "unreadable_file"


def test_an_empty_file_and_what_is_no_picture_say_so():
    with pytest.raises(Unreadable) as refused:
        read(b"")
    assert refused.value.code == "empty_file"
    for data in (
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0" + b"\xff" * 40,
        b"P5 4 4 255 0123456789abcdef",
        b"BM" + bytes(60),
    ):
        with pytest.raises(Unreadable) as refused:
            read(data)
        assert refused.value.code == "unreadable_file"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_files_with_broken_bytes_are_read_or_refused_and_nothing_else(kind):
    whole = encoded(drawn().resize((160, 40)), kind)
    draw = np.random.default_rng(11)
    codes = set()
    for _ in range(40):
        broken = bytearray(whole)
        for place in draw.integers(0, len(broken), 6):
            broken[place] = int(draw.integers(0, 256))
        try:
            assert read(bytes(broken), Limits(max_pixels=400_000)).pages
        except Unreadable as error:
            codes.add(error.code)
    assert codes <= {"unreadable_file", "file_too_large"}
