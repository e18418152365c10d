"""The kind of a document by its content; its name is a hint only between kinds that are text anyway. Pure."""

from __future__ import annotations

import io
from typing import Final

from orchestrator.documents.containers import OLE_MARK, ZIP_MARKS, ole_problem, unsupported, zip_kind
from orchestrator.documents.reading import Unreadable
from orchestrator.documents.text_kinds import is_text, text_kind
from orchestrator.media import picture, sound

ARCHIVES: Final = frozenset({"zip", "tar", "gzip", "bzip2", "xz"})
"""Kinds that are no documents, but hold some: see `archives.members`."""

_PDF_MARK: Final = b"%PDF-"
_PDF_WITHIN: Final = 1024
_TAR_MARK_AT: Final = 257
_TAR_BLOCK: Final = 512

_MARKS: Final[tuple[tuple[bytes, str], ...]] = (
    (_PDF_MARK, "pdf"),
    (b"II*\0", "tiff"), (b"MM\0*", "tiff"), (b"II+\0", "tiff"), (b"MM\0+", "tiff"),
)  # fmt: skip
_BZIP2_BLOCKS: Final = (b"1AY&SY", b"\x17rE8P\x90")
"""What follows its mark: the first block, or the end of an empty file. Without it a text could begin like that."""

_PROGRAM: Final = ("a program", "Leave it out, or give what it shows as PDF or text")
_SOUND: Final = ("sound in a form that is not read", "Convert it to WAV, FLAC or MP3")
_PICTURE: Final = ("a picture in a form that is not read", "Convert it to PNG or JPEG")
_ARCHIVE: Final = ("an archive of a kind that is not unpacked", "Unpack it, or make it a ZIP")
_TABLE: Final = ("a file of a database", "Export its tables as CSV")
_OTHERS: Final[tuple[tuple[int, bytes, tuple[str, str]], ...]] = (
    (0, b"\x7fELF", _PROGRAM), (0, b"\xfe\xed\xfa", _PROGRAM), (0, b"\xce\xfa\xed\xfe", _PROGRAM), (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", _PROGRAM), (0, b"\0asm", _PROGRAM), (0, b"MZ", _PROGRAM),
    (0, b"\xc5\xd0\xd3\xc6", ("an EPS drawing", "Convert it to PDF")),
    (0, b"AT&TFORM", ("a DjVu document", "Convert it to PDF")),
    (4, b"ftypM4A", _SOUND), (4, b"ftypM4B", _SOUND), (0, b"OggS", _SOUND), (0, b"RF64", _SOUND), (0, b"FORM", _SOUND),
    (4, b"ftyphe", _PICTURE), (4, b"ftypmif1", _PICTURE), (4, b"ftypavif", _PICTURE), (4, b"jP  ", _PICTURE), (0, b"8BPS", _PICTURE),
    (0, b"BM", _PICTURE), (0, b"\0\0\1\0", _PICTURE),
    (4, b"ftyp", ("a video", "Take its sound as WAV, FLAC or MP3, and pictures as PNG or JPEG")),
    (0, b"\x1a\x45\xdf\xa3", ("a video", "Take its sound as WAV, FLAC or MP3, and pictures as PNG or JPEG")),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE), (0, b"Rar!\x1a\x07", _ARCHIVE), (0, b"\x28\xb5\x2f\xfd", _ARCHIVE), (0, b"MSCF", _ARCHIVE),
    (0, b"SQLite format 3\0", _TABLE), (0, b"PAR1", _TABLE), (0, b"ARROW1", _TABLE),
    (0, b"!BDN", ("an Outlook mailbox (.pst)", "Export its mails as EML")),
)  # fmt: skip
"""Where a mark stands, the mark, and what the file is then. Asked of what is no text only: some are letters."""


def kind_of(data: bytes, name: str) -> str:
    """What a document is: a key of `readers.KINDS`, or `zip`, `tar`, `gzip`, `bzip2` or `xz`, which hold documents.

    A file under a wrong name is what its content is. Raises Unreadable for an empty file, and for kinds that are not read: with the
    kind to convert them to, where there is one.
    """
    if not data:
        raise Unreadable("empty_file", "The file is empty. Give it some content, or leave it out.")
    if kind := kind_by_mark(data):
        return kind
    if data.startswith(ZIP_MARKS):
        return zip_kind(io.BytesIO(data))
    if data.startswith(OLE_MARK):
        raise ole_problem(data)
    has_text = is_text(data)
    if _is_late_pdf(data, has_text=has_text):
        return "pdf"
    if has_text:
        return text_kind(data, name)
    return _by_weak_mark(data)


def kind_by_mark(data: bytes) -> str | None:
    """What marks that no text begins with say: 12 bytes are enough for pictures, 512 for all kinds."""
    head = data[:12]
    if kind := picture.kind_of(head):
        return kind
    if head[:4] in {b"RIFF", b"fLaC"} and (heard := sound.kind_of(head)):
        return heard
    if head[:3] == b"ID3" and head[3:4] in {b"\2", b"\3", b"\4"}:
        return "mp3"
    if packing := packing_of(data[:_TAR_BLOCK]):
        return packing
    return next((kind for mark, kind in _MARKS if data.startswith(mark)), None)


def packing_of(head: bytes) -> str | None:
    """What a file that holds others is by its first 512 bytes: `tar`, `gzip`, `bzip2` or `xz`. A ZIP tells at its end: `zip_kind`."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head[:3] == b"BZh" and head[4:10] in _BZIP2_BLOCKS:
        return "bzip2"
    return "tar" if _is_tar(head) else None


def _is_tar(block: bytes) -> bool:
    """Whether a block of 512 bytes begins a TAR: it holds the sum of its own bytes, with blanks for the sum itself."""
    if len(block) < _TAR_BLOCK or not block[0]:
        return False
    told = block[148:156].strip(b" \0")
    try:
        total = int(told, 8)
    except ValueError:
        return False
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:]) == total


def _is_late_pdf(data: bytes, *, has_text: bool) -> bool:
    """Whether a PDF begins behind up to 1 KiB of something else, and is not only written about."""
    if data.find(_PDF_MARK, 0, _PDF_WITHIN + len(_PDF_MARK)) < 0:
        return False
    return not has_text or (b"%%EOF" in data[-_PDF_WITHIN:] and b" obj" in data)


def _by_weak_mark(data: bytes) -> str:
    first = sound.frame_of(data[:4])
    if first and sound.frame_of(data[first.size : first.size + 4]):
        return "mp3"
    for place, mark, (what, remedy) in _OTHERS:
        if data.startswith(mark, place):
            raise unsupported(what, remedy)
    raise unsupported("a binary file of no kind that is known", "Convert it to PDF, DOCX or text")
