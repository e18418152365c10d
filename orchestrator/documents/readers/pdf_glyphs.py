"""The glyphs of one PDF page, all at once: what they say, where they stand as the page is displayed, and how they look.

PDFium is asked in C loops (`map` over its functions, into arrays), since a Python step for each glyph takes longer than the page itself.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

from orchestrator.documents.readers.pdf_calls import INT, POINTER, address, function
from orchestrator.documents.reading import Box

_INVISIBLE: Final = 3
_FIXED_PITCH, _FORCE_BOLD = 1, 1 << 18
_BOLD_WEIGHT: Final = 600
_BOLD_NAMES: Final = ("bold", "black", "heavy", "semibd", "demi", "-bd", "cmbx", "sfbx")
_MONO_NAMES: Final = ("courier", "mono", "consol", "menlo", "typewriter", "cmtt", "sftt", "inconsolata", "fixed")
_LINE_HYPHENS: Final = (2, 0xFFFE, 0xFFFFFFFE)
"""What PDFium tells in the place of a hyphen at the end of a line."""

_WORD_JOINER: Final = 0x2060
SLANTED: Final = 4
"""Read at an angle that is no quarter turn: see `Glyphs.turns`."""

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


_unicode: Final = function(pdfium.FPDFText_GetUnicode, ctypes.c_uint, POINTER, INT)
_text: Final = function(pdfium.FPDFText_GetText, INT, POINTER, INT, INT, POINTER)
_object: Final = function(pdfium.FPDFText_GetTextObject, ctypes.c_size_t, POINTER, INT)
_loose_box: Final = function(pdfium.FPDFText_GetLooseCharBox, INT, POINTER, INT, POINTER)
_origin: Final = function(pdfium.FPDFText_GetCharOrigin, INT, POINTER, INT, POINTER, POINTER)
_matrix: Final = function(pdfium.FPDFText_GetMatrix, INT, POINTER, INT, POINTER)
_font_size: Final = function(pdfium.FPDFText_GetFontSize, ctypes.c_double, POINTER, INT)
_map_error: Final = function(pdfium.FPDFText_HasUnicodeMapError, INT, POINTER, INT)
_font: Final = function(pdfium.FPDFTextObj_GetFont, ctypes.c_size_t, POINTER)
_render_mode: Final = function(pdfium.FPDFTextObj_GetTextRenderMode, INT, POINTER)
_font_name: Final = function(pdfium.FPDFFont_GetBaseFontName, ctypes.c_size_t, POINTER, POINTER, ctypes.c_size_t)
_font_flags: Final = function(pdfium.FPDFFont_GetFlags, INT, POINTER)
_font_weight: Final = function(pdfium.FPDFFont_GetWeight, INT, POINTER)


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a page that is displayed, in the page's own coordinates, and the quarter turns by which it is turned clockwise."""

    left: float
    bottom: float
    right: float
    top: float
    turns: int = 0

    @property
    def width(self) -> float:
        """Of the page as displayed, in points."""
        return self.top - self.bottom if self.turns % 2 else self.right - self.left

    @property
    def height(self) -> float:
        """Of the page as displayed, in points."""
        return self.right - self.left if self.turns % 2 else self.top - self.bottom

    def placed(self, x: Any, y: Any) -> tuple[Any, Any]:
        """A point of the page, or arrays of them, as displayed: from the upper left corner, downwards."""
        match self.turns:
            case 1:
                return y - self.bottom, x - self.left
            case 2:
                return self.right - x, y - self.bottom
            case 3:
                return self.top - y, self.right - x
        return x - self.left, self.top - y

    def share(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A box as displayed, in points, as shares of the page."""
        wide, high = self.width or 1.0, self.height or 1.0
        return (_within(left / wide), _within(top / high), _within(right / wide), _within(bottom / high))


def _within(share: float) -> float:
    return round(min(max(share, 0.0), 1.0), 4)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Arrays with one entry a glyph, spaces included, in the order in which PDFium tells them."""

    codes: Whole
    """Unicode code points."""
    spaces: Flags
    breaks: Flags
    """Where PDFium has put the end of a line."""
    boxes: Numbers
    """Left, top, right, bottom as displayed, in points; as wide as the glyph's step and as high as its font."""
    runs: Whole
    """Which run of its page it belongs to: an index into what follows."""
    bases: Numbers
    """Where the baseline of each run begins: x and y as displayed."""
    sizes: Numbers
    """The height of each run's font, in points."""
    turns: Whole
    """Which way each run is read: 0 to the right, 1 downwards, 2 to the left, 3 upwards, or SLANTED."""
    bold: Flags
    mono: Flags
    hidden: Flags
    """Drawn in no colour at all, as the text under a scan is."""
    unmapped: float
    """The share of glyphs, among some that were asked, for which the file does not say what they mean."""


def frame_of(page: Any) -> Frame | None:
    """The displayed part of a page; None where it has no size."""
    box = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, box):
        return None
    edges = (box.left, box.bottom, box.right, box.top)
    if not all(map(math.isfinite, edges)) or box.right <= box.left or box.top <= box.bottom:
        return None
    return Frame(*edges, turns=pdfium.FPDFPage_GetRotation(page) % 4)


def glyphs_of(text_page: Any, count: int, frame: Frame) -> Glyphs:
    """The `count` glyphs of a loaded text page."""
    page = address(text_page)
    codes = _codes(page, count)
    objects = np.fromiter(map(_object, repeat(page), range(count)), np.uint64, count)
    boxes = np.zeros((count, 4), np.float32)
    at = boxes.ctypes.data
    list(map(_loose_box, repeat(page), range(count), range(at, at + 16 * count, 16)))  # drives the calls
    boxes64 = np.nan_to_num(boxes.astype(np.float64), posinf=0.0, neginf=0.0)
    x0, y0 = frame.placed(boxes64[:, 0], boxes64[:, 1])
    x1, y1 = frame.placed(boxes64[:, 2], boxes64[:, 3])
    placed = np.stack((np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)), axis=1)
    breaks = (codes == 10) | (codes == 13)
    spaces = (
        breaks
        | (codes == 32)
        | (codes == 0xA0)
        | (codes == 9)
        | (codes == 0x3000)
        | ((codes >= 0x2000) & (codes <= 0x200B))
    )
    # A run ends where the object does; a space that PDFium has put in belongs to none.
    solid = np.flatnonzero(~spaces)
    changes = np.zeros(count, bool)
    if len(solid):
        changes[solid[1:]] = objects[solid[1:]] != objects[solid[:-1]]
    runs = np.cumsum(changes)
    firsts = np.concatenate((solid[:1], np.flatnonzero(changes)))
    bases, sizes, turns, bold, mono, hidden = _looks(page, firsts, objects, frame)
    unmapped = _unmapped(page, solid)
    return Glyphs(codes, spaces, breaks, placed, runs, bases, sizes, turns, bold, mono, hidden, unmapped)


def _codes(page: int, count: int) -> Whole:
    """The code points: in one call where that gives one for each glyph, else one by one."""
    buffer = np.zeros(count + 2, np.uint16)
    given = _text(page, 0, count, buffer.ctypes.data) - 1
    codes = buffer[:count].astype(np.int64)
    if given != count or bool(((codes >= 0xD800) & (codes <= 0xDFFF)).any()):
        codes = np.fromiter(map(_unicode, repeat(page), range(count)), np.int64, count)
        _join_surrogates(codes)
    codes[np.isin(codes, _LINE_HYPHENS)] = ord("-")
    codes[(codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF)) | (codes == 0)] = 0xFFFD
    return codes


def _join_surrogates(codes: Whole) -> None:
    """Put together what is told in two halves, in the place of the first; the second becomes a sign of no width."""
    first = np.flatnonzero(
        (codes[:-1] >= 0xD800) & (codes[:-1] < 0xDC00) & (codes[1:] >= 0xDC00) & (codes[1:] < 0xE000)
    )
    codes[first] = 0x10000 + ((codes[first] - 0xD800) << 10) + (codes[first + 1] - 0xDC00)
    codes[first + 1] = _WORD_JOINER


def _looks(
    page: int, firsts: Whole, objects: NDArray[np.uint64], frame: Frame
) -> tuple[Numbers, Numbers, Whole, Flags, Flags, Flags]:
    """Baseline, size, direction, weight, pitch and visibility of each run, asked of its first glyph."""
    count, indices = len(firsts), firsts.tolist()
    origins, matrices = np.zeros((count, 2)), np.zeros((count, 6), np.float32)
    at, matrix_at = origins.ctypes.data, matrices.ctypes.data
    list(map(_origin, repeat(page), indices, range(at, at + 16 * count, 16), range(at + 8, at + 8 + 16 * count, 16)))
    list(map(_matrix, repeat(page), indices, range(matrix_at, matrix_at + 24 * count, 24)))
    a, b, c, d = (np.nan_to_num(matrices[:, index].astype(np.float64)) for index in range(4))
    heights = np.hypot(c, d)
    sizes = np.abs(np.fromiter(map(_font_size, repeat(page), indices), np.float64, count)) * np.where(
        heights > 0, heights, 1.0
    )
    owners = objects[firsts].tolist()
    fonts = list(map(_font, owners))
    styles = {font: _style(font) for font in set(fonts)}
    hidden = np.fromiter(map(_render_mode, owners), np.int64, count) == _INVISIBLE
    bold = np.fromiter((styles[font][0] for font in fonts), bool, count)
    mono = np.fromiter((styles[font][1] for font in fonts), bool, count)
    bases = np.stack(frame.placed(origins[:, 0], origins[:, 1]), axis=1)
    return bases, np.nan_to_num(sizes), _turns(a, b, frame), bold, mono, hidden


def _turns(a: Numbers, b: Numbers, frame: Frame) -> Whole:
    """Which way text with these matrices is read on the page as displayed."""
    degrees = (frame.turns * 90 - np.degrees(np.arctan2(b, a))) % 360
    quarters = np.rint(degrees / 90)
    slanted = np.abs(degrees - quarters * 90) > 5
    return np.where(slanted, SLANTED, quarters.astype(np.int64) % 4)


def _style(font: int | None) -> tuple[bool, bool]:
    """Whether a font is bold, and whether all its glyphs are of one width."""
    if not font:
        return False, False
    buffer = ctypes.create_string_buffer(128)
    _font_name(font, buffer, 127)
    name = buffer.value.decode("latin-1").lower()
    flags = _font_flags(font)
    flags = max(0, flags)
    bold = any(mark in name for mark in _BOLD_NAMES) or bool(flags & _FORCE_BOLD)
    if not name:
        bold = bold or _font_weight(font) >= _BOLD_WEIGHT
    return bold, bool(flags & _FIXED_PITCH) or any(mark in name for mark in _MONO_NAMES)


def _unmapped(page: int, solid: Whole) -> float:
    asked = solid[:: max(1, len(solid) // 100)].tolist()
    return sum(_map_error(page, index) == 1 for index in asked) / len(asked) if asked else 0.0
