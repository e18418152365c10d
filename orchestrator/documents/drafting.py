"""One document as the body of one request: pictures as they are, everything else as the pool of readers reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

from orchestrator.documents import chat, tiff
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.files import read_whole
from orchestrator.documents.kinds import kind_by_mark
from orchestrator.documents.lines import MIB, RowOptions, Unfit, check_takes_parts
from orchestrator.documents.reading import Limits, Reading
from orchestrator.media import picture
from orchestrator.media.encoded import reader

MAX_BYTES: Final = 100 * MIB
MAX_PAGES: Final = 500
MAX_PICTURES: Final = 20
MAX_PICTURE_BYTES: Final = 20 * MIB
MAX_PIXELS: Final = 40_000_000
WITHIN_SCANS_S: Final = 60.0
"""What a document may take in which others lie that must be read from their pictures, such as a mail with scans."""
SOUNDS: Final = frozenset({"wav", "mp3", "flac"})


def limits_of(options: RowOptions) -> Limits:
    """What one document may take. Scanned pages are shown, not read."""
    return Limits(max_bytes=MAX_BYTES, max_pages=MAX_PAGES, max_chars=options.max_input_chars, scans=False)


def picture_body(stream: BinaryIO, options: RowOptions) -> dict[str, Any]:
    """A picture as it is, checked by its header only; raises Unfit for what is no PNG, JPEG, WebP or GIF, or too large."""
    check_takes_parts(options)
    data = read_whole(stream, MAX_PICTURE_BYTES, "A picture")
    kind = picture.kind_of(data[:12])
    size = picture.size_of(reader(data), kind) if kind else None
    if kind is None or size is None:
        raise Unfit("unreadable_file", "The header of the picture is broken. Save it anew.")
    width, height = size
    if width < 1 or height < 1:
        raise Unfit("unreadable_file", "The picture has no pixels. Save it anew.")
    if width * height > MAX_PIXELS:
        told = f"{width:,} x {height:,} pixels, at most {MAX_PIXELS:,} can be read"
        raise Unfit("file_too_large", f"The picture has {told}. Shrink it.")
    return chat.of_pictures([data], options, kind)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Makes the bodies of requests from documents, which it has read. May be used from several threads."""

    pool: Pool
    options: RowOptions

    def body(self, stream: BinaryIO, name: str) -> dict[str, Any]:
        """The body for one document; raises Unreadable and Unfit."""
        head = stream.read(12)
        if kind_by_mark(head) == "tiff":
            return self._of_tiff(stream)
        limits = limits_of(self.options)
        reading = self.pool.read(stream, name, limits)
        if reading.kind in SOUNDS:
            return self._of_sound(stream, reading.kind)
        if reading.kind == "pdf":
            return self._of_pdf(stream, reading)
        if any(page.source == "none" for page in reading.pages):  # what lies in others cannot be shown
            reading = self.pool.read(stream, name, replace(limits, scans=True, timeout_s=WITHIN_SCANS_S))
        return chat.of_text(reading, self.options)

    def _of_pdf(self, stream: BinaryIO, reading: Reading) -> dict[str, Any]:
        wanted = chat.pages_to_look_at(reading)
        if not wanted:
            return chat.of_text(reading, self.options)
        check_takes_parts(self.options)
        if len(wanted) > MAX_PICTURES:
            message = f"{len(wanted)} of its pages have no text; at most {MAX_PICTURES} are sent as pictures."
            remedy = "Split it, or submit it for a task that is defined, where scans are read."
            raise Unfit("too_many_pages", f"{message} {remedy}")
        pictures = self.pool.render(stream, wanted, limits_of(self.options))
        return chat.of_pages(reading, dict(zip(wanted, pictures, strict=True)), self.options)

    def _of_tiff(self, stream: BinaryIO) -> dict[str, Any]:
        check_takes_parts(self.options)
        pages = range(1, tiff.count_pages(stream, MAX_PICTURES) + 1)
        return chat.of_pictures(self.pool.render(stream, pages, limits_of(self.options)), self.options)

    def _of_sound(self, stream: BinaryIO, kind: str) -> dict[str, Any]:
        check_takes_parts(self.options)
        stream.seek(0)
        return chat.of_sound(read_whole(stream, self.options.max_row_bytes * 3 // 4, "A sound"), kind, self.options)
