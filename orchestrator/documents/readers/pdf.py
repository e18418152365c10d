"""PDFs: their text layer in reading order, and pages without one given to the reader of scans.

PDFium reads them, as it is built for pypdfium2: without JavaScript and without XFA, so that nothing in a PDF is run, and nothing fetched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pypdfium2
import pypdfium2.raw as pdfium

from orchestrator.documents.readers import pdf_blocks, pdf_open, pdf_page, pdf_pages, pdf_pictures, pdf_render
from orchestrator.documents.readers.pdf_files import Files
from orchestrator.documents.readers.pdf_page import Draft
from orchestrator.documents.readers.pdf_render import render
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

__all__ = ["read", "render"]

_SHARE_OF_TIME: Final = 0.8
"""What may be spent before the process would be ended from outside."""
_SCAN_DPI: Final = 200
_A_SCAN_S: Final = 1.5
"""What a scan is taken to cost before one was read."""
_MOST_SPANS: Final = 20
_XFA: Final = (pdfium.FORMTYPE_XFA_FULL, pdfium.FORMTYPE_XFA_FOREGROUND)


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The reading of a PDF; raises Unreadable for one that is locked, broken or over a limit."""
    until = time.monotonic() + _SHARE_OF_TIME * limits.timeout_s
    notes: list[str] = []
    files = Files(limits)
    with pdf_open.opened(data, limits) as document:
        drafts = _drafts(document, limits, files, until, notes)
        style = pdf_blocks.style_of(piece for draft in drafts for piece in draft.pieces)
        pages = pdf_pages.pages_of(drafts, style)
        if limits.scans:
            pages = _scans_read(document, drafts, pages, limits, until, notes)
        pages = pdf_pictures.with_pictures_read(document, drafts, pages, limits, until)
        title = pdf_open.title_of(document) or pdf_pages.first_heading(pages, style)
        files.take_all(document)
    if limits.scans and not any(page.blocks for page in pages):
        notes.append("No text was found in the PDF.")
    inner, told = files.read(within)
    pages += [replace(page, number=len(pages) + index) for index, page in enumerate(inner, 1)]
    return Reading("pdf", tuple(pages), title, (*notes, *told))


def _drafts(
    document: pypdfium2.PdfDocument, limits: Limits, files: Files, until: float, notes: list[str]
) -> list[Draft]:
    """A draft of each page; one that fails alone is an empty one with a note."""
    form = pdf_open.form_of(document)
    drafts: list[Draft] = []
    chars, count = 0, len(document)
    for number in range(1, count + 1):
        if time.monotonic() > until:
            message = f"Only {number - 1:,} of the PDF's {count:,} pages could be read in time. Split it, or raise the time limit."
            raise Unreadable("too_many_pages", message)
        with pdf_open.page_of(document, number - 1) as page:
            draft = _draft(page, number, form, limits, files, chars)
        chars += draft.chars
        drafts.append(draft)
    if all(draft.frame is None for draft in drafts):
        raise Unreadable("unreadable_file", "The PDF is broken: none of its pages can be opened. Save it anew.")
    if scanned := [draft.number for draft in drafts if draft.worth.scanned]:
        notes.append(f"Scans with a text layer, which was taken as it is: {_named(scanned)}.")
    if hidden := [draft.number for draft in drafts if draft.worth.hidden]:
        notes.append(f"Text that cannot be seen on the page was read as well: {_named(hidden)}.")
    if document.get_formtype() in _XFA:
        notes.append("The PDF holds an XFA form, of which only the plain pages were read.")
    return drafts


def _named(numbers: Sequence[int]) -> str:
    """Pages by their numbers, those in a row as a range."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans[:_MOST_SPANS])
    more = ", and more" if len(spans) > _MOST_SPANS else ""
    return f"{'page' if len(numbers) == 1 else 'pages'} {told}{more}"


def _draft(page: object, number: int, form: object, limits: Limits, files: Files, chars: int) -> Draft:
    if page is None:
        return Draft(number)
    try:
        return pdf_page.draft_of(page, number, form, limits, files, chars)
    except (ArithmeticError, LookupError, ValueError, RecursionError) as error:  # what a broken page's numbers lead to
        draft = Draft(number)
        draft.worth = replace(draft.worth, why=f"it is broken ({type(error).__name__})")
        return draft


def _scans_read(
    document: pypdfium2.PdfDocument,
    drafts: Sequence[Draft],
    pages: list[Page],
    limits: Limits,
    until: float,
    notes: list[str],
) -> list[Page]:
    """The pages, with those that must be looked at read from their pictures as far as the time goes."""
    told = list(pages)
    left: dict[str, list[int]] = {}
    longest = _A_SCAN_S
    for index, draft in enumerate(drafts):
        if draft.worth.sound:
            continue
        begun = time.monotonic()
        why = "there was no time left to read its picture; raise the time limit"
        if begun + 2 * longest < until:  # the next may take longer: what was read so far must not be lost over it
            told[index], why = _looked_at(document, pages[index], limits, until)
            longest = max(longest, time.monotonic() - begun)
        if told[index].source == "none":
            left.setdefault(f"{draft.worth.why}, and {why.removesuffix('.')}", []).append(draft.number)
    notes += [f"Not read: {_named(numbers)}: {why}." for why, numbers in left.items()]
    return told


def _looked_at(document: pypdfium2.PdfDocument, page: Page, limits: Limits, until: float) -> tuple[Page, str]:
    """A page with what was read from its picture, and why there is nothing where that is so."""
    try:
        seen = _scan(document, page.number, limits, until)
    except Unreadable as unreadable:
        return page, unreadable.message
    except Exception as error:  # whatever the reader of scans makes of a picture, the other pages are still good
        return page, f"its picture could not be read ({type(error).__name__}); look at it"
    if seen.source == "none":
        return replace(page, scan=seen.scan), "no text was found in its picture; look at it"
    comments = tuple(block for block in page.blocks if block.kind == "note")  # those are in no picture
    return replace(seen, blocks=seen.blocks + comments), ""


def _scan(document: pypdfium2.PdfDocument, number: int, limits: Limits, until: float) -> Page:
    """A page as the reader of scans reads it from its picture."""
    try:
        from orchestrator.documents.readers import scan
    except ImportError:
        message = "the reader of scans is not installed. Install it: pip install 'rightsize[documents]'."
        raise Unreadable("missing_extra", message) from None
    return scan.read_page(pdf_render.drawn(document, number, limits, until, dpi=_SCAN_DPI), limits, number=number)
