"""Files that lie in a PDF, or are pinned to its pages: named, and read where they are documents."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from orchestrator.documents.readers.pdf_calls import text_told
from orchestrator.documents.reading import Inner, Limits, Page, Unreadable

_LONGEST_NAME: Final = 200


class Files:
    """The files of one PDF: taken while it is open, no more of them than may be read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._room_bytes = limits.max_unpacked_bytes
        self._taken: list[tuple[str, bytes | None]] = []
        self._count = 0

    def take_all(self, document: pypdfium2.PdfDocument) -> None:
        """Take what lies in the document as a whole."""
        for index in range(max(pdfium.FPDFDoc_GetAttachmentCount(document.raw), 0)):
            if self._count > self._limits.max_parts:
                return
            self.take(pdfium.FPDFDoc_GetAttachment(document.raw, index))

    def take(self, attachment: Any) -> None:
        """Take one file by its handle."""
        self._count += 1
        if not attachment or self._count > self._limits.max_parts:
            return
        name = text_told(pdfium.FPDFAttachment_GetName, attachment)[:_LONGEST_NAME] or f"file {self._count}"
        data = _data(attachment, min(self._room_bytes, self._limits.max_bytes))
        self._room_bytes -= len(data or b"")
        self._taken.append((name, data))

    def read(self, within: Inner) -> tuple[list[Page], list[str]]:
        """Their pages, each named after its file, and notes on all of them."""
        pages: list[Page] = []
        notes: list[str] = []
        for name, data in self._taken:
            if data is None:
                notes.append(
                    f"{name!r} lies in the PDF and was not read: it is empty, broken or too large. Save it apart."
                )
                continue
            try:
                reading = within(data, name)
            except Unreadable as unreadable:
                notes.append(f"{name!r} lies in the PDF and was not read: {unreadable.message}")
                continue
            notes.append(f"{name!r} lies in the PDF, and was read as well.")
            notes += reading.notes
            pages += [replace(page, name=f"{name} / {page.name}" if page.name else name) for page in reading.pages]
        if self._count > self._limits.max_parts:
            notes.append(f"More than {self._limits.max_parts:,} files lie in the PDF; the others were not looked at.")
        return pages, notes


def _data(attachment: Any, most: int) -> bytes | None:
    size = ctypes.c_ulong()
    if not pdfium.FPDFAttachment_GetFile(attachment, None, 0, size) or not 0 < size.value <= most:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    told = ctypes.c_ulong()
    if not pdfium.FPDFAttachment_GetFile(attachment, buffer, size.value, told) or told.value > size.value:
        return None
    return buffer.raw[: told.value]
