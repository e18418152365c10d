"""Scanned pages are read as they were drawn: turned, skewed, small, faded, in columns, and within bounds."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from orchestrator.documents.readers import scan, scan_lines
from orchestrator.documents.readers.scan_lines import Run
from orchestrator.documents.reading import Limits, Page, Unreadable

LIMITS = Limits()
LINES = (
    "The committee met on Tuesday and agreed upon three things:",
    "the bridge over the river shall be repaired before winter,",
    "the school receives a new roof in the spring of next year,",
    "and the market moves back to the square beside the church.",
    "Costs are estimated at 14,250 euros for the first of these.",
    "Nobody spoke against it. The next meeting is on 12 March.",
)


def font(size: float) -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size=size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


def drawn(lines: tuple[str, ...] = LINES, size: float = 26, ink: int = 0, margin: int = 60) -> Image.Image:
    """A page with these lines, one below the other."""
    width = max(int(font(size).getlength(line)) for line in lines) + 2 * margin
    page = Image.new("L", (width, int(1.7 * size * len(lines)) + 2 * margin), 255)
    draw = ImageDraw.Draw(page)
    for at, line in enumerate(lines):
        draw.text((margin, margin + 1.7 * size * at), line, fill=ink, font=font(size))
    return page


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def found(page: Page, lines: tuple[str, ...] = LINES) -> float:
    """The share of the words drawn that were read."""
    wanted = Counter(words(" ".join(lines)))
    return (wanted & Counter(words(page.text))).total() / wanted.total()


def test_a_page_is_read_word_for_word_and_in_order():
    page = scan.read_page(drawn(), LIMITS, number=7)
    assert (page.number, page.source) == (7, "ocr")
    assert words(page.text) == words(" ".join(LINES))
    assert page.scan is not None
    assert page.scan.confidence > 0.95
    assert (page.scan.rotation, page.scan.skew_deg, page.scan.pictures) == (0, 0.0, 0.0)
    assert page.scan.engine == "pp-ocrv6"


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_page_on_its_side_or_its_head_is_turned_upright_and_its_boxes_stay_on_the_picture(turned):
    lines = ("Heading of this page", *LINES)
    upright = scan.read_page(drawn(lines), LIMITS)
    page = scan.read_page(drawn(lines).rotate(-turned, expand=True), LIMITS)  # clockwise
    assert words(page.text) == words(upright.text)
    assert page.scan is not None
    assert page.scan.rotation == 360 - turned
    first, whole = upright.blocks[0].box, page.blocks[0].box
    assert first is not None
    assert whole is not None
    left, top, right, bottom = first
    wanted = {90: (1 - bottom, left, 1 - top, right), 180: (1 - right, 1 - bottom, 1 - left, 1 - top),
              270: (top, 1 - right, bottom, 1 - left)}[turned]  # fmt: skip
    assert whole == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("skew", [-7.0, -1.2, 0.8, 4.5])
def test_a_skewed_page_is_made_level(skew):
    page = scan.read_page(drawn().rotate(-skew, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC), LIMITS)
    assert found(page) > 0.97
    assert page.scan is not None
    assert page.scan.skew_deg == pytest.approx(skew, abs=0.3)
    assert words(page.text)[:4] == words(LINES[0])[:4]


def test_boxes_of_a_skewed_page_lie_where_its_lines_are():
    page = scan.read_page(drawn().rotate(-4, expand=True, fillcolor=255), LIMITS)
    boxes = [block.box for block in page.blocks if block.box]
    assert boxes
    ink = np.asarray(drawn().rotate(-4, expand=True, fillcolor=255)) < 128
    inside = np.zeros_like(ink)
    for left, top, right, bottom in boxes:
        inside[
            int(top * ink.shape[0]) : int(bottom * ink.shape[0]) + 1,
            int(left * ink.shape[1]) : int(right * ink.shape[1]) + 1,
        ] = True
    assert (ink & inside).sum() > 0.99 * ink.sum()


@pytest.mark.parametrize("size", [11, 14, 60, 110])
def test_print_is_read_whether_it_is_small_or_large(size):
    assert found(scan.read_page(drawn(LINES[:4], size=size), LIMITS), LINES[:4]) > 0.95


def test_faded_and_noisy_print_is_read():
    noise = np.random.default_rng(7).normal(0, 9, drawn().size[::-1])
    faded = np.asarray(drawn(ink=165).filter(ImageFilter.GaussianBlur(0.8)), np.float64) - 10 + noise
    assert found(scan.read_page(Image.fromarray(faded.clip(0, 255).astype(np.uint8)), LIMITS)) > 0.9


def test_light_print_on_a_dark_page_is_read():
    assert found(scan.read_page(drawn().point(lambda shade: 255 - shade), LIMITS)) > 0.95


def test_a_tall_receipt_is_read_from_its_first_line_to_its_last():
    items = tuple(f"Item {number} costs {number * 3}.50" for number in range(100, 180))
    receipt = drawn(items, size=20, margin=20)
    assert receipt.height > 2_500
    page = scan.read_page(receipt, LIMITS)
    read = [int(number) for number in re.findall(r"Item (\d+)", page.text)]
    assert read == sorted(read)
    assert len(set(read) & set(range(100, 180))) >= 78


def test_columns_are_read_one_after_the_other_and_a_heading_above_them_first():
    left, right = drawn(LINES), drawn(tuple(line.replace("the", "some") for line in reversed(LINES)))
    page = Image.new("L", (left.width + right.width, left.height + 100), 255)
    page.paste(left, (0, 100))
    page.paste(right, (left.width, 100))
    draw = ImageDraw.Draw(page)
    draw.text(
        (60, 40),
        "News from the town hall, for all who live here or nearby and would like to know",
        fill=0,
        font=font(40),
    )
    read = words(scan.read_page(page, LIMITS).text)
    assert read[:4] == ["news", "from", "the", "town"]
    assert read.index("committee") < read.index("estimated") < read.index("nobody", read.index("estimated") + 10)
    assert read[-len(words(LINES[0])) :][-2:] == ["three", "things"]


def test_rows_of_a_receipt_are_read_across():
    page = Image.new("L", (700, 400), 255)
    draw = ImageDraw.Draw(page)
    for at, (name, price) in enumerate((("Bread", "2.40"), ("Cheese", "7.15"), ("Apples", "3.05"), ("Total", "12.60"))):
        draw.text((40, 40 + 70 * at), name, fill=0, font=font(30))
        draw.text((560, 40 + 70 * at), price, fill=0, font=font(30))
    read = scan.read_page(page, LIMITS).text
    assert [words(line) for line in read.splitlines() if line] == [
        ["bread", "2", "40"], ["cheese", "7", "15"], ["apples", "3", "05"], ["total", "12", "60"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "page", [Image.new("L", (1200, 1600), 255), Image.new("L", (1, 1), 0), Image.new("RGB", (900, 5), "red")]
)
def test_a_page_without_text_says_so_and_has_no_blocks(page):
    read = scan.read_page(page, LIMITS)
    assert (read.source, read.blocks) == ("none", ())
    assert read.scan is not None
    assert (read.scan.pixels, read.scan.confidence) == (page.width * page.height, 0.0)


def photo(width: int, height: int) -> Image.Image:
    """Something like a photograph: shades that change slowly, with grain."""
    draw = np.random.default_rng(3)
    coarse = Image.fromarray(draw.integers(0, 200, (12, 9), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(
        (np.asarray(coarse, np.float64) + draw.normal(0, 6, (height, width))).clip(0, 255).astype(np.uint8)
    )


def test_a_page_that_is_mostly_a_photo_tells_it():
    page = Image.new("L", (1000, 1400), 255)
    page.paste(photo(900, 1100), (50, 50))
    ImageDraw.Draw(page).text((60, 1200), "Our new warehouse seen from the north", fill=0, font=font(34))
    read = scan.read_page(page, LIMITS)
    assert read.scan is not None
    assert read.scan.pictures > 0.5
    assert "warehouse" in read.text
    assert scan.measure(page).pictures > 0.5


def test_a_page_of_text_has_no_pictures_and_a_chart_is_one():
    text = drawn(LINES * 4)
    assert scan.measure(text).pictures < 0.02
    page = Image.new("L", (1000, 1000), 255)
    draw = ImageDraw.Draw(page)
    draw.rectangle((100, 100, 900, 800), outline=0, width=3)
    for at in range(10):
        draw.rectangle((140 + 75 * at, 780 - 60 * at, 190 + 75 * at, 800), fill=60)
        draw.text((140 + 75 * at, 820), str(2010 + at), fill=0, font=font(20))
    read = scan.read_page(page, LIMITS)
    assert read.scan is not None
    assert read.scan.pictures > 0.3


def test_measuring_tells_turn_and_ink_without_reading():
    told = scan.measure(drawn(LINES * 3).rotate(-3, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC))
    assert told.skew_deg == pytest.approx(3, abs=0.3)
    assert 0.01 < told.ink < 0.2
    assert (told.rotation, told.engine, told.confidence) == (0, "", 0.0)
    assert scan.measure(drawn(LINES * 3).rotate(90, expand=True)).rotation == 90
    assert scan.measure(Image.new("L", (500, 500), 255)).ink == 0.0


def test_a_page_of_too_many_pixels_is_refused_before_anything_is_done_with_it():
    with pytest.raises(Unreadable, match=r"at most 1,000,000 can be read. Shrink it") as refused:
        scan.read_page(Image.new("L", (1001, 1000)), Limits(max_pixels=1_000_000))
    assert refused.value.code == "file_too_large"


@pytest.mark.parametrize("size", [(200_000, 12), (12, 200_000), (6_300, 6_300)])
def test_a_page_of_odd_measures_or_full_of_specks_ends(size):
    specks = np.random.default_rng(5).random(size[::-1]) > 0.995
    read = scan.read_page(Image.fromarray(np.where(specks, 0, 255).astype(np.uint8)), LIMITS)
    assert read.scan is not None
    assert read.scan.pixels == size[0] * size[1]


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> socket.socket:
        raise AssertionError("a reader asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    scan.scan_engine.engine.cache_clear()
    assert found(scan.read_page(drawn(), LIMITS)) > 0.95


def test_a_page_is_read_behind_the_walls_of_a_reading_process_and_within_its_memory():
    program = """
        import sys
        from orchestrator.documents.apart import sandbox
        sandbox.enter(2 * 1024**3)
        from PIL import Image
        from orchestrator.documents.readers import scan
        from orchestrator.documents.reading import Limits
        page = Image.frombytes("L", (WIDTH, HEIGHT), sys.stdin.buffer.read())
        print(scan.read_page(page, Limits()).text)
    """
    page = drawn(LINES * 2, size=30)
    page = page.resize((page.width * 4, page.height * 4))
    program = program.replace("WIDTH", str(page.width)).replace("HEIGHT", str(page.height))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        input=page.tobytes(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert Counter(words(" ".join(LINES * 2))) == Counter(words(done.stdout.decode()))


def at(text: str, left: float, top: float, width: float = 0, height: float = 20) -> Run:
    return Run(text, (left, top, left + (width or 10 * len(text)), top + height))


def test_a_word_parted_at_the_end_of_a_line_is_whole_again_and_a_dash_is_left():
    parts = scan_lines.parts(
        [at("he took the um-", 0, 0, 300), at("brella and the -", 0, 30, 300), at("well, the hat", 0, 60, 140)]
    )
    assert [part.text for part in parts] == ["he took the umbrella and the - well, the hat"]


def test_an_indented_line_begins_a_paragraph():
    rows = [at("a" * 30, 0, 0), at("b" * 30, 0, 30), at("c" * 28, 25, 60, 275), at("d" * 30, 0, 90)]
    assert [part.text[0] for part in scan_lines.parts(rows)] == ["a", "c"]


def test_a_line_much_larger_than_others_is_a_heading():
    rows = [at("Report", 0, 0, 200, 48), at("a" * 30, 0, 90), at("b" * 30, 0, 120), at("c" * 30, 0, 150)]
    first = scan_lines.parts(rows)[0]
    assert (first.text, first.kind, first.level) == ("# Report", "heading", 1)


def test_no_runs_give_no_parts():
    assert scan_lines.parts([]) == []
