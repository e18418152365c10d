"""Pages of a PDF drawn as pictures, with their pixels bounded before anything is drawn."""

from __future__ import annotations

import ctypes
import io
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from orchestrator.documents.readers import pdf_drawings, pdf_glyphs, pdf_open
from orchestrator.documents.readers.shown import pixels_of
from orchestrator.documents.reading import Limits, Unreadable

_LARGEST_SCALE: Final = 300 / 72
"""No page gains from more than 300 dots an inch."""
_JPEG_QUALITY: Final = 85
_SHARE_OF_TIME: Final = 0.8
_WHITE: Final = 0xFFFFFFFF


def render(data: bytes, pages: Sequence[int], limits: Limits, long_side_px: int = 0) -> list[bytes]:
    """These pages, counted from 1, as JPEGs; raises Unreadable for one that is not there or too large to be drawn."""
    until = time.monotonic() + _SHARE_OF_TIME * limits.timeout_s
    pictures = []
    with pdf_open.opened(data, limits) as document:
        for number in pages:
            if not 1 <= number <= len(document):
                raise Unreadable(
                    "unreadable_file", f"The PDF has no page {number}: it has {len(document)}. Ask for one of those."
                )
            picture = drawn(document, number, limits, until, long_side_px=long_side_px or limits.render_px)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
            pictures.append(buffer.getvalue())
    return pictures


def drawn(
    document: pypdfium2.PdfDocument,
    number: int,
    limits: Limits,
    until: float,
    *,
    long_side_px: int = 0,
    dpi: float = 300,
    part: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """A page, or a part of it in points, as a picture in colours, at most so long, or of so many dots an inch.

    It is left when `until` (`time.monotonic`) is over.
    """
    with pdf_open.page_of(document, number - 1) as page:
        frame = pdf_glyphs.frame_of(page) if page else None
        if frame is None:
            raise Unreadable("unreadable_file", f"Page {number} of the PDF cannot be drawn. Save it anew.")
        _refuse_large_pictures(page, frame, number, limits)
        scale = min(_LARGEST_SCALE, dpi / 72, math.sqrt(limits.max_pixels / (frame.width * frame.height)))
        if long_side_px:
            pixels = pixels_of(long_side_px)
            scale = min(
                scale, long_side_px / max(frame.width, frame.height), math.sqrt(pixels / (frame.width * frame.height))
            )
        wide, high = max(round(frame.width * scale), 1), max(round(frame.height * scale), 1)
        if wide * high > limits.max_pixels * 1.01:
            raise Unreadable(
                "file_too_large", f"Page {number} of the PDF is too long and narrow to be drawn. Split it."
            )
        left, top, right, bottom = part or (0.0, 0.0, frame.width, frame.height)
        x, y = max(round(left * scale), 0), max(round(top * scale), 0)
        crop = (x, y, min(max(round(right * scale), x + 1), wide), min(max(round(bottom * scale), y + 1), high))
        return _picture(page, (wide, high), crop, number, until)


def _refuse_large_pictures(page: Any, frame: pdf_glyphs.Frame, number: int, limits: Limits) -> None:
    """Refuse a page with a picture of too many pixels: it would be unpacked in full to be drawn."""
    for picture in pdf_drawings.drawings_of(page, frame).pictures:
        if picture.wide_px * picture.high_px > limits.max_pixels:
            message = (
                f"Page {number} of the PDF has a picture of {picture.wide_px:,} x {picture.high_px:,} pixels, at most "
                f"{limits.max_pixels:,} in all are drawn. Save it with a smaller one."
            )
            raise Unreadable("file_too_large", message)


def _picture(
    page: Any, size: tuple[int, int], crop: tuple[int, int, int, int], number: int, until: float
) -> Image.Image:
    """What of a page drawn in this size lies in the crop."""
    x, y, right, bottom = crop
    wide, high = right - x, bottom - y
    if wide < 1 or high < 1:
        raise Unreadable(
            "unreadable_file", f"Page {number} of the PDF has nothing there to be drawn. Ask for another part."
        )
    bitmap = pdfium.FPDFBitmap_CreateEx(wide, high, pdfium.FPDFBitmap_BGR, None, 0)
    if not bitmap:
        raise MemoryError
    try:
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, wide, high, _WHITE)
        _draw(bitmap, page, (-x, -y, *size), number, until)
        stride = pdfium.FPDFBitmap_GetStride(bitmap)
        content = ctypes.string_at(pdfium.FPDFBitmap_GetBuffer(bitmap), stride * high)
        return Image.frombytes("RGB", (wide, high), content, "raw", "BGR", stride)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)


def _draw(bitmap: Any, page: Any, place: tuple[int, int, int, int], number: int, until: float) -> None:
    """Draw step by step, so that a page without end is left when the time is over."""
    kind = dict(pdfium.IFSDK_PAUSE._fields_)["NeedToPauseNow"]
    over = kind(lambda _: time.monotonic() > until)
    pause = pdfium.IFSDK_PAUSE(version=1, NeedToPauseNow=over, user=None)
    try:
        state = pdfium.FPDF_RenderPageBitmap_Start(bitmap, page, *place, 0, pdfium.FPDF_ANNOT, pause)
        while state == pdfium.FPDF_RENDER_TOBECONTINUED and time.monotonic() <= until:
            state = pdfium.FPDF_RenderPage_Continue(page, pause)
    finally:
        pdfium.FPDF_RenderPage_Close(page)
    if state == pdfium.FPDF_RENDER_TOBECONTINUED:
        message = f"Page {number} of the PDF takes too long to draw. Save it anew, or raise the time limit."
        raise Unreadable("unreadable_file", message)
    if state != pdfium.FPDF_RENDER_DONE:
        raise Unreadable("unreadable_file", f"Page {number} of the PDF cannot be drawn. Save it anew.")
