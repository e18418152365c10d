"""One scanned page, read on the CPU: turned upright, its lines found and read, and put in reading order."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.documents.readers import scan_engine, scan_lines, scan_measure
from orchestrator.documents.readers.scan_engine import Corners, Engine, Gray, Line
from orchestrator.documents.readers.scan_measure import Look, measure
from orchestrator.documents.reading import Block, Box, Limits, Page, Scan, Unreadable

__all__ = ["measure", "read_page"]

LETTER_PX: Final = 14.0
"""How high letters should be where lines are looked for: smaller ones are missed, larger ones only take time."""
GUESS_PX: Final = 0.015
"""How high letters are where that could not be told, of the root of a page's pixels."""
LINE: Final = 2.0
"""How high the place of a line is, in heights of its letters."""
MAX_LETTER_PX: Final = 32.0
"""Letters need not be higher to be read."""
SCALES: Final = (0.2, 3.0)
BAND_PX: Final = 800_000
"""Lines are looked for in so much of a page at once."""
MAX_FIND_PX: Final = 12_000_000
"""Of all its bands: beyond that a page is looked at smaller, or it would take minutes."""
LINE_LETTERS: Final = 1.6
"""How high a line is read, in heights of its letters: in more of it the network takes letters that touch for others."""
TIGHTEST: Final = 0.65
LEVEL_DEG: Final = 0.3
"""A page turned by less is read as it is."""
SAMPLE: Final = 6
"""Lines that tell whether a page stands on its head."""
UPRIGHT: Final = 0.9
"""So sure of its letters, a page is the right way up."""
CLEARLY: Final = 0.03
TALL: Final = 2.5
"""So much higher than wide, what stands on a page runs up or down."""
DOUBTFUL: Final = 0.5
"""Lines whose letters are less sure than this are no text."""
LATIN: Final = 0.85
"""With so many of its letters Latin, all of a page is read as Latin."""
BLANK: Final = 0.0002
"""Less ink is dirt."""
MIN_SIDE_PX: Final = 8
MAX_SIDE_PX: Final = 16_000
"""OpenCV turns nothing of more than 32,767."""
MAX_FIND_WIDTH_PX: Final = 6_000


@dataclass(frozen=True, slots=True)
class Turned:
    """A page laid so that it can be read."""

    page: Gray
    size: tuple[float, float]
    """Its width and height before it was made level."""
    level: NDArray[np.float64]
    """What makes its points those before that."""
    rotation: int
    skew_deg: float

    def on_its_head(self) -> Turned:
        """The same page turned by half."""
        flipped = np.ascontiguousarray(self.page[::-1, ::-1])
        return replace(self, page=flipped, rotation=(self.rotation + 180) % 360)

    def place(self, box: Box) -> Box:
        """Where a box of its pixels stands on the picture as it was given, as shares of it."""
        left, top, right, bottom = box
        points = np.array([(left, top, 1), (right, top, 1), (right, bottom, 1), (left, bottom, 1)])
        x, y = (np.clip(self.level @ points.T / np.array(self.size)[:, None], 0, 1)).round(5)
        for _ in range(self.rotation // 90):
            x, y = y, 1 - x
        return (float(x.min()), float(y.min()), float(x.max()), float(y.max()))


@dataclass(frozen=True, slots=True)
class Laid:
    """A page laid to be read, with the places of its lines."""

    turned: Turned
    places: list[Corners]
    tight: float
    """The share of their height that is read."""
    read: Mapping[int, Line] = field(default_factory=dict)
    """Lines that were read already, by their place."""

    def crop(self, at: int) -> Gray:
        """A line cut out, level."""
        corners = self.places[at]
        width, height = _size(corners)
        return scan_engine.cut(self.turned.page, corners, self.tight if height <= width else 1.0)

    def on_its_head(self) -> Laid:
        """The same page turned by half."""
        size = np.array(self.turned.page.shape[::-1], np.float32)
        places = [np.roll(size - corners, 2, axis=0) for corners in self.places]
        return Laid(self.turned.on_its_head(), places, self.tight)


def read_page(picture: Image.Image, limits: Limits, *, number: int = 1, threads: int = 1) -> Page:
    """What stands on a scanned page; boxes are shares of the picture as it was given. Raises Unreadable for one too large."""
    if picture.width * picture.height > limits.max_pixels:
        size = f"{picture.width:,} x {picture.height:,} pixels, at most {limits.max_pixels:,} can be read"
        raise Unreadable("file_too_large", f"The page has {size}. Shrink it.")
    gray = scan_measure.gray_of(picture)
    look = scan_measure.look(gray)
    scan = Scan(look.pixels, look.skew_deg, ink=look.ink, pictures=look.pictures())
    if look.ink < BLANK or min(gray.shape) < MIN_SIDE_PX:
        return Page(number, source="none", scan=scan)
    engine = scan_engine.engine(threads)
    laid = _upright(gray, look, engine)
    turned = laid.turned
    runs, confidence = _runs(laid.places, _lines(laid, engine))
    blocks = tuple(Block(one.text, one.kind, one.level, turned.place(one.box)) for one in scan_lines.parts(runs))
    pictures = look.pictures([turned.place(run.box) for run in runs])
    scan = Scan(
        look.pixels, turned.skew_deg, turned.rotation, look.ink, round(confidence, 4), scan_engine.NAME, pictures
    )
    return Page(number, blocks, "ocr" if blocks else "none", scan=scan)


def _upright(gray: Gray, look: Look, engine: Engine) -> Laid:
    """A page the right way up, where its lines are, and those of them that had to be read to know it."""
    turned = _turned(gray, look, 90 if look.sideways else 0)
    places = _places(turned.page, look, engine)
    if not _run_across(places):
        turned = _turned(gray, look, 0 if look.sideways else 90)
        places = _places(turned.page, look, engine)
    laid = Laid(turned, places, _tightness(places, min(look.letter_px, MAX_LETTER_PX)))
    sample = _sample(places)
    read = {at: engine.read(laid.crop(at)) for at in sample}
    if _confidence(read.values()) < UPRIGHT:
        other = laid.on_its_head()
        flipped = {at: engine.read(other.crop(at)) for at in sample}
        if _confidence(flipped.values()) > _confidence(read.values()) + CLEARLY:
            return replace(other, read=flipped)
    return replace(laid, read=read)


def _sample(places: Sequence[Corners]) -> list[int]:
    """Some of the lines that are longest for their height; not only the very longest, since rules are among them."""

    def length(at: int) -> float:
        width, height = _size(places[at])
        return width / max(height, 1.0)

    step = min(max(len(places) // SAMPLE, 1), 3)
    return sorted(range(len(places)), key=length, reverse=True)[: step * SAMPLE : step]


def _tightness(places: Sequence[Corners], letter_px: float) -> float:
    """How much of the height of lines is read, so that letters are about as high in it whatever the spacing of lines."""
    if not places or not letter_px:
        return 1.0
    height = statistics.median(_size(corners)[1] for corners in places)
    return min(max(LINE_LETTERS * letter_px / height, TIGHTEST), 1.0)


def _turned(gray: Gray, look: Look, rotation: int) -> Turned:
    """A page turned clockwise by quarters, made level, and no larger than reading needs."""
    page = np.ascontiguousarray(np.rot90(gray, -rotation // 90))
    by = min(MAX_LETTER_PX / (look.letter_px or MAX_LETTER_PX), MAX_SIDE_PX / max(page.shape), 1.0)
    if by < 1:
        page = _scaled(page, by)
    height, width = page.shape
    skew = look.skew_deg if rotation == 90 * look.sideways else 0.0
    if abs(skew) < LEVEL_DEG:
        return Turned(page, (width, height), np.eye(2, 3), rotation, skew)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), skew, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = (round(width * cos + height * sin), round(width * sin + height * cos))
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    paper = float(np.percentile(page[::8, ::8], 80))
    level = cv2.warpAffine(page, turn, size, flags=cv2.INTER_LINEAR, borderValue=(paper,))
    back = np.asarray(cv2.invertAffineTransform(turn), np.float64)
    return Turned(np.asarray(level, np.uint8), (width, height), back, rotation, skew)


def _places(page: Gray, look: Look, engine: Engine) -> list[Corners]:
    """Where lines stand: looked for again where their height shows that they were looked for at a size that is far off."""
    guess = min(look.letter_px, MAX_LETTER_PX) or GUESS_PX * math.sqrt(page.size)
    by = _fitting(page, guess)
    places = _found(page, by, engine)
    if not look.letter_px and places:
        letter_px = statistics.median(_size(corners)[1] for corners in places) / LINE
        if not 0.6 < letter_px / guess < 1.6:
            places = _found(page, _fitting(page, letter_px), engine)
    return places


def _fitting(page: Gray, letter_px: float) -> float:
    """By how much a page should be larger for lines with such letters to be found."""
    most = min(math.sqrt(MAX_FIND_PX / page.size), MAX_FIND_WIDTH_PX / page.shape[1])
    return float(min(max(LETTER_PX / letter_px, SCALES[0]), SCALES[1], most))


def _found(page: Gray, by: float, engine: Engine) -> list[Corners]:
    """Where lines stand, looked for band by band."""
    small = _scaled(page, by)
    found = []
    for top, bottom in _bands(small):
        found += [(corners + np.array([0, top], np.float32)) / by for corners in engine.find(small[top:bottom])]
    return found


def _bands(page: Gray) -> Iterator[tuple[int, int]]:
    """A page in parts from edge to edge, cut where there is least ink, so that no line is cut."""
    height, width = page.shape
    most = max(BAND_PX // width, 64)
    edges = np.abs(np.diff(page.astype(np.int16), axis=1)).sum(axis=1)
    top = 0
    while height - top > most:
        first = top + most * 2 // 3
        bottom = first + int(edges[first : top + most].argmin())
        yield top, bottom
        top = bottom
    yield top, height


def _scaled(page: Gray, by: float) -> Gray:
    if by == 1:
        return page
    size = (max(round(page.shape[1] * by), 1), max(round(page.shape[0] * by), 1))
    return np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC), np.uint8)


def _size(corners: Corners) -> tuple[float, float]:
    """The width and height of a line."""
    return float(np.linalg.norm(corners[1] - corners[0])), float(np.linalg.norm(corners[3] - corners[0]))


def _run_across(places: Sequence[Corners]) -> bool:
    """Whether lines run from side to side, by the longer ones: what is found in photos has no direction."""
    sizes = [_size(corners) for corners in places]
    across = sum(width for width, height in sizes if width > TALL * height)
    down = sum(height for width, height in sizes if height > TALL * width)
    return across * 2 >= down


def _confidence(lines: Iterable[Line]) -> float:
    letters = [letter.confidence for line in lines for letter in line.letters]
    return sum(letters) / len(letters) if letters else 0.0


def _lines(laid: Laid, engine: Engine) -> list[Line]:
    """What stands in each line; one that runs up or down is read both ways."""
    lines = []
    for at, corners in enumerate(laid.places):
        width, height = _size(corners)
        if height > TALL * width:
            ways = (engine.read(np.rot90(laid.crop(at), turns)) for turns in (1, -1))
            lines.append(max(ways, key=lambda line: line.confidence))
        else:
            lines.append(laid.read.get(at) or engine.read(laid.crop(at)))
    return lines


def _runs(places: Sequence[Corners], lines: Sequence[Line]) -> tuple[list[scan_lines.Run], float]:
    """The lines that are text, with their boxes, and how sure their letters are."""
    letters = [letter for line in lines for letter in line.letters if letter.text.isalpha()]
    latin = sum(scan_engine.is_latin(letter.text) for letter in letters) >= LATIN * len(letters)
    runs: list[scan_lines.Run] = []
    sure: list[float] = []
    for corners, line in zip(places, lines, strict=True):
        text = "".join(letter.text for letter in (line.latin if latin else line.letters)).strip()
        if text and line.confidence >= DOUBTFUL:
            left, top = (float(one) for one in corners.min(axis=0))
            right, bottom = (float(one) for one in corners.max(axis=0))
            runs.append(scan_lines.Run(text, (left, top, right, bottom)))
            sure += [letter.confidence for letter in line.letters]
    return runs, sum(sure) / len(sure) if sure else 0.0
