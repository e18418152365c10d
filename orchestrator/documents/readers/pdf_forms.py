"""What was filled into a PDF's form, and what readers have noted on its pages. Nothing of a form is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pypdfium2.raw as pdfium

from orchestrator.documents.readers.pdf_calls import text_told
from orchestrator.documents.readers.pdf_glyphs import Frame
from orchestrator.documents.readers.pdf_pieces import Piece

_MOST_ANNOTATIONS: Final = 5_000
_HIDDEN: Final = 2 | 32  # flags of an annotation: Hidden, NoView
_LINE: Final = 14.0
_TICKED, _EMPTY = "[x]", "[ ]"
_CHOICES: Final = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
_FILLED: Final = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX)
_NO_NOTES: Final = (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_WIDGET)


@dataclass(slots=True)
class Remark:
    """What an annotation says, and where it stands as displayed, in points."""

    text: str
    box: tuple[float, float, float, float]
    shown: bool
    """Whether it stands on the page as text, rather than in a window beside it."""


@dataclass(slots=True)
class Added:
    """What was added to a page: values of its form, placed where they stand in it, and remarks."""

    values: list[Piece]
    remarks: list[Remark]


def added_to(page: Any, form: Any, frame: Frame, take_file: Callable[[Any], None]) -> Added:
    """The values of a page's form, `form` being the document's or None, and its annotations' contents; pinned files are taken."""
    added = Added([], [])
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            _add(annotation, form, frame, added, take_file)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)
    return added


def _add(annotation: Any, form: Any, frame: Frame, added: Added, take_file: Callable[[Any], None]) -> None:
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
        return
    if kind == pdfium.FPDF_ANNOT_FILEATTACHMENT:
        take_file(pdfium.FPDFAnnot_GetFileAttachment(annotation))
    if kind == pdfium.FPDF_ANNOT_WIDGET:
        if form:
            added.values += _values(annotation, form, frame)
    elif kind not in _NO_NOTES and (
        text := text_told(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents").strip()
    ):
        added.remarks.append(Remark(text, _box(annotation, frame), kind == pdfium.FPDF_ANNOT_FREETEXT))


def _values(annotation: Any, form: Any, frame: Frame) -> Iterator[Piece]:
    """What stands in a field, a piece a line."""
    left, top, right, bottom = _box(annotation, frame)
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _CHOICES:
        size = min(max(bottom - top, 4.0), 12.0)
        # PDFium's own answer needs the page to be on show.
        state = text_told(pdfium.FPDFAnnot_GetStringValue, annotation, b"AS") or text_told(
            pdfium.FPDFAnnot_GetFormFieldValue, form, annotation
        )
        text = _EMPTY if state in {"", "Off"} else _TICKED
        yield Piece(text, left, top, right, bottom, bottom - 0.2 * (bottom - top), size, spaced=True)
    if kind not in _FILLED:
        return
    lines = (
        text_told(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .split("\n")
    )
    high = bottom - top
    pitch = min(_LINE, high / len(lines))
    size = max(0.75 * pitch, 1.0)
    for index, line in enumerate(lines):
        if text := line.strip():
            base = bottom - 0.25 * high if len(lines) == 1 and high < 2 * _LINE else top + (index + 0.8) * pitch
            wide = min(right - left, 0.5 * size * len(text))
            yield Piece(text, left, base - size, left + wide, base + 0.2 * size, base, size, spaced=True)


def _box(annotation: Any, frame: Frame) -> tuple[float, float, float, float]:
    rect = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, rect):
        return 0.0, 0.0, 0.0, 0.0
    x0, y0 = frame.placed(rect.left, rect.bottom)
    x1, y1 = frame.placed(rect.right, rect.top)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
