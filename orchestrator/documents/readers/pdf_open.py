"""PDFs opened with their bounds kept: no bomb is unpacked, no password guessed, nothing run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from orchestrator.documents.readers.pdf_calls import text_told
from orchestrator.documents.reading import Limits, Unreadable

_PASSWORD_ERROR: Final = pdfium.FPDF_ERR_PASSWORD
_MOST_EXPANSION: Final = 1_032
"""What deflate can make of one byte."""
_STREAM: Final = re.compile(rb"stream\r?\n")
_FLATE: Final = re.compile(rb"/Fl(?:ateDecode)?\b")
_CHUNK_BYTES: Final = 1 << 20
_DEEPEST: Final = 4
_TITLE_MARKS: Final = ("microsoft word", "microsoft powerpoint", "untitled", "slide 1", "print", "layout 1")
_FILE_NAME: Final = re.compile(
    r"\.(?:docx?|pptx?|xlsx?|pdf|indd|qxd|tex|dvi|ps|rtf|odt|html?|txt|tmp|cdr|ai)$", re.IGNORECASE
)
_LONGEST_TITLE: Final = 300


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[pypdfium2.PdfDocument]:
    """An open PDF with at least one page and no more than may be read; raises Unreadable."""
    if not data:
        raise Unreadable("empty_file", "The file is empty. Give it some content, or leave it out.")
    if len(data) > limits.max_bytes:
        raise Unreadable(
            "file_too_large", f"The PDF has {len(data):,} bytes, at most {limits.max_bytes:,} are read. Split it."
        )
    _refuse_bombs(data, limits)
    document = _loaded(data, limits)
    try:
        count = len(document)
        if count < 1:
            raise Unreadable("unreadable_file", "The PDF has no page that can be read. Save it anew.")
        if count > limits.max_pages:
            message = (
                f"The PDF has {count:,} pages, at most {limits.max_pages:,} are read. Split it, or raise the limit."
            )
            raise Unreadable("too_many_pages", message)
        yield document
    finally:
        document.close()


def _loaded(data: bytes, limits: Limits) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data, password=limits.password)
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            given = "The password given does not open the PDF" if limits.password else "The PDF needs a password"
            message = f"{given}. Give the right one, or save the PDF without a password."
            raise Unreadable("password_required", message) from None
        if error.err_code == pdfium.FPDF_ERR_SECURITY:
            message = "The PDF is encrypted in a way that is not read. Save it without encryption."
            raise Unreadable("unsupported_file", message) from None
        raise Unreadable("unreadable_file", "The PDF is broken and cannot be opened. Save it anew.") from None


def form_of(document: pypdfium2.PdfDocument) -> Any:
    """The form of a document, with which its fields can be asked; None where it has none. Call it before any page is opened."""
    if document.get_formtype() in {pdfium.FORMTYPE_NONE, None}:
        return None
    try:
        document.init_forms()
    except pypdfium2.PdfiumError:  # a broken form: its page can be read for all that
        return None
    return document.formenv.raw if document.formenv else None


@contextmanager
def page_of(document: pypdfium2.PdfDocument, index: int) -> Iterator[Any]:
    """A page, open; None where it cannot be opened."""
    page = pdfium.FPDF_LoadPage(document.raw, index)
    try:
        yield page or None
    finally:
        if page:
            pdfium.FPDF_ClosePage(page)


def title_of(document: pypdfium2.PdfDocument) -> str:
    """The title that the file gives, where it is one: not the name of a file or of a program."""
    title = " ".join(text_told(pdfium.FPDF_GetMetaText, document.raw, b"Title").split())[:_LONGEST_TITLE]
    lower = title.lower()
    if len(title) < 3 or not any(letter.isalpha() for letter in title) or _FILE_NAME.search(title):
        return ""
    return "" if lower.startswith(_TITLE_MARKS) else title


def _refuse_bombs(data: bytes, limits: Limits) -> None:
    """Refuse a PDF with a stream that would unpack to more than the limit; only large or doubly packed ones can."""
    least = limits.max_unpacked_bytes // _MOST_EXPANSION
    unpacked = 0
    for found in _STREAM.finditer(data):
        start = found.end()
        if data[found.start() - 3 : found.start()] == b"end":
            continue
        described = data[max(0, start - 400) : start]
        described = described[max(described.rfind(b" obj"), 0) :]
        times = len(_FLATE.findall(described))
        if times == 0 or (times == 1 and len(data) - start < least):
            continue
        end = data.find(b"endstream", start)
        end = len(data) if end < 0 else end
        if times == 1 and end - start < least:
            continue
        unpacked += _unpacked_bytes(
            memoryview(data)[start:end], min(times, _DEEPEST), limits.max_unpacked_bytes - unpacked
        )
        if unpacked > limits.max_unpacked_bytes:
            message = f"What lies compressed in the PDF is larger than {limits.max_unpacked_bytes:,} bytes. Save it anew, or split it."
            raise Unreadable("file_too_large", message)


def _unpacked_bytes(packed: memoryview, times: int, most: int) -> int:
    """How large a stream is once unpacked, counted no further than just past `most`; 0 for what is no such stream."""
    pieces: Iterator[bytes] = iter([bytes(packed)])
    for _ in range(times):
        pieces = _inflated(pieces)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > most:
            break
    return total


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpack = zlib.decompressobj()
    try:
        for piece in pieces:
            left = piece
            while left and not unpack.eof:
                yield unpack.decompress(left, _CHUNK_BYTES)
                left = unpack.unconsumed_tail
    except zlib.error:  # broken or encrypted: PDFium will see to it
        return
