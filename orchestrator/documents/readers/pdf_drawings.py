"""What is drawn on a PDF page besides text: the lines that rule tables, and pictures with their sizes in pixels."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

import pypdfium2.raw as pdfium

from orchestrator.documents.readers.pdf_calls import INT, POINTER, address, function
from orchestrator.documents.readers.pdf_glyphs import Frame

_MOST_OBJECTS: Final = 200_000
_MOST_PATHS: Final = 3_000
_MOST_SEGMENTS: Final = 400
_DEEPEST: Final = 4
_THIN: Final = 3.0
"""Points: a filled box that is no thicker is a line."""
_SHORT: Final = 8.0

_count: Final = function(pdfium.FPDFPage_CountObjects, INT, POINTER)
_object: Final = function(pdfium.FPDFPage_GetObject, ctypes.c_size_t, POINTER, INT)
_form_count: Final = function(pdfium.FPDFFormObj_CountObjects, INT, POINTER)
_form_object: Final = function(pdfium.FPDFFormObj_GetObject, ctypes.c_size_t, POINTER, ctypes.c_ulong)
_kind: Final = function(pdfium.FPDFPageObj_GetType, INT, POINTER)
_matrix: Final = function(pdfium.FPDFPageObj_GetMatrix, INT, POINTER, POINTER)
_object_bounds: Final = function(pdfium.FPDFPageObj_GetBounds, INT, POINTER, POINTER, POINTER, POINTER, POINTER)
_pixel_size: Final = function(pdfium.FPDFImageObj_GetImagePixelSize, INT, POINTER, POINTER, POINTER)
_segment_count: Final = function(pdfium.FPDFPath_CountSegments, INT, POINTER)
_segment: Final = function(pdfium.FPDFPath_GetPathSegment, ctypes.c_size_t, POINTER, INT)
_point: Final = function(pdfium.FPDFPathSegment_GetPoint, INT, POINTER, POINTER, POINTER)
_segment_kind: Final = function(pdfium.FPDFPathSegment_GetType, INT, POINTER)
_closes: Final = function(pdfium.FPDFPathSegment_GetClose, INT, POINTER)

Line = tuple[float, float, float]
"""A line's place across its direction, and from where to where it goes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on a page: its box as displayed, in points, and its size in pixels."""

    left: float
    top: float
    right: float
    bottom: float
    wide_px: int
    high_px: int

    def area(self, frame: Frame) -> float:
        """How much of the page it takes, in square points."""
        wide = min(self.right, frame.width) - max(self.left, 0.0)
        high = min(self.bottom, frame.height) - max(self.top, 0.0)
        return max(wide, 0.0) * max(high, 0.0)


@dataclass(slots=True)
class Drawings:
    """Lines and pictures of a page as displayed, in points."""

    across: list[Line] = field(default_factory=list)
    """Horizontal lines: y, left, right."""
    down: list[Line] = field(default_factory=list)
    """Vertical lines: x, top, bottom."""
    pictures: list[Picture] = field(default_factory=list)
    paths: int = 0
    in_forms: int = 0
    """Objects that lie in others."""

    def covered(self, frame: Frame) -> float:
        """The share of the page under pictures, at most 1; where they overlap it is counted twice."""
        whole = frame.width * frame.height
        return min(1.0, sum(one.area(frame) for one in self.pictures) / whole) if whole > 0 else 0.0

    def turned(self, turns: int, frame: Frame) -> Drawings:
        """The lines in the coordinates in which text is read that runs this way: see `Glyphs.turns`."""
        wide, high = frame.width, frame.height
        match turns:
            case 1:
                across = [(wide - x, top, bottom) for x, top, bottom in self.down]
                return Drawings(across, [(y, wide - right, wide - left) for y, left, right in self.across])
            case 2:
                across = [(high - y, wide - right, wide - left) for y, left, right in self.across]
                return Drawings(across, [(wide - x, high - bottom, high - top) for x, top, bottom in self.down])
            case 3:
                across = [(x, high - bottom, high - top) for x, top, bottom in self.down]
                return Drawings(across, [(high - y, left, right) for y, left, right in self.across])
        return self


def drawings_of(page: Any, frame: Frame) -> Drawings:
    """The lines and pictures of a page."""
    drawings = Drawings()
    at = address(page)
    count = min(max(_count(at), 0), _MOST_OBJECTS)
    _gather(list(map(_object, repeat(at), range(count))), _Matrix(), frame, drawings, 0)
    if drawings.paths > _MOST_PATHS:  # half of a drawing rules no table
        drawings.across, drawings.down = [], []
    return drawings


@dataclass(frozen=True, slots=True)
class _Matrix:
    """How the objects of a form stand on its page."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0
    e: float = 0.0
    f: float = 0.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f

    def within(self, inner: pdfium.FS_MATRIX) -> _Matrix:
        """First the inner matrix, then this one."""
        a, b, c, d, e, f = inner.a, inner.b, inner.c, inner.d, inner.e, inner.f
        return _Matrix(
            self.a * a + self.c * b, self.b * a + self.d * b, self.a * c + self.c * d, self.b * c + self.d * d,
            self.a * e + self.c * f + self.e, self.b * e + self.d * f + self.f,
        )  # fmt: skip


def _gather(objects: list[int], matrix: _Matrix, frame: Frame, drawings: Drawings, depth: int) -> None:
    for one, kind in zip(objects, map(_kind, objects), strict=True):
        if kind == pdfium.FPDF_PAGEOBJ_PATH:
            drawings.paths += 1
            if drawings.paths <= _MOST_PATHS:
                _lines(one, matrix, frame, drawings)
        elif kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            _picture(one, matrix, frame, drawings)
        elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST:
            count = min(max(_form_count(one), 0), _MOST_OBJECTS - drawings.in_forms)
            drawings.in_forms += count
            inner = list(map(_form_object, repeat(one), range(count)))
            _gather(inner, matrix.within(_matrix_of(one)), frame, drawings, depth + 1)


def _matrix_of(one: int) -> Any:
    matrix = pdfium.FS_MATRIX(1, 0, 0, 1, 0, 0)
    _matrix(one, ctypes.addressof(matrix))
    return matrix


def _bounds(one: int, matrix: _Matrix, frame: Frame) -> tuple[float, float, float, float] | None:
    """The box of an object as displayed."""
    edges = pdfium.FS_RECTF()
    at = ctypes.addressof(edges)
    if not _object_bounds(one, at, at + 4, at + 8, at + 12):
        return None
    left, bottom, right, top = (
        edges.left,
        edges.top,
        edges.right,
        edges.bottom,
    )  # as they were written, whatever they are called
    xs, ys = zip(
        *(frame.placed(*matrix.at(x, y)) for x, y in ((left, bottom), (left, top), (right, bottom), (right, top))),
        strict=True,
    )
    box = (min(xs), min(ys), max(xs), max(ys))
    return box if all(map(math.isfinite, box)) else None


def _picture(one: int, matrix: _Matrix, frame: Frame, drawings: Drawings) -> None:
    wide, high = ctypes.c_uint(), ctypes.c_uint()
    if not _pixel_size(one, ctypes.addressof(wide), ctypes.addressof(high)):
        return
    box = _bounds(one, matrix, frame) or (0.0, 0.0, 0.0, 0.0)
    drawings.pictures.append(Picture(*box, wide.value, high.value))


def _lines(path: int, matrix: _Matrix, frame: Frame, drawings: Drawings) -> None:
    """Add the straight lines of a path that go across or down, where it is no curve or filled shape."""
    box = _bounds(path, matrix, frame)
    if box is None:
        return
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    if wide > frame.width * 1.5 or high > frame.height * 1.5 or max(wide, high) < _SHORT:
        return
    if high <= _THIN:
        drawings.across.append(((top + bottom) / 2, left, right))
    elif wide <= _THIN:
        drawings.down.append(((left + right) / 2, top, bottom))
    else:
        _segments(path, matrix, frame, drawings)


def _segments(path: int, matrix: _Matrix, frame: Frame, drawings: Drawings) -> None:
    """The straight strokes of a path with several; of a filled box, its edges, since it may be a cell with a background."""
    count = _segment_count(path)
    if not 2 <= count <= _MOST_SEGMENTS:
        return
    whole = matrix.within(_matrix_of(path))
    x, y = ctypes.c_float(), ctypes.c_float()
    x_at, y_at = ctypes.addressof(x), ctypes.addressof(y)
    start = last = (0.0, 0.0)
    for index in range(count):
        segment = _segment(path, index)
        if not _point(segment, x_at, y_at):
            return
        here = frame.placed(*whole.at(x.value, y.value))
        kind = _segment_kind(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = here
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            _stroke(last, here, drawings)
        if _closes(segment):
            _stroke(here, start, drawings)
        last = here


def _stroke(start: tuple[float, float], end: tuple[float, float], drawings: Drawings) -> None:
    (x0, y0), (x1, y1) = start, end
    if abs(y1 - y0) <= 1 and _SHORT <= abs(x1 - x0) < math.inf:
        drawings.across.append(((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
    elif abs(x1 - x0) <= 1 and _SHORT <= abs(y1 - y0) < math.inf:
        drawings.down.append(((x0 + x1) / 2, min(y0, y1), max(y0, y1)))
