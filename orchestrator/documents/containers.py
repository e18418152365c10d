"""What a ZIP file or an OLE compound file holds, by its directory alone: many kinds of documents are such a file."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from orchestrator.documents.reading import Unreadable

ZIP_MARKS: Final = (b"PK\x03\x04", b"PK\x05\x06")
OLE_MARK: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
READABLE: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""How the members of a ZIP may be packed: of the other ways `zipfile` bounds no piece that it unpacks."""
BROKEN: Final = (
    zipfile.BadZipFile,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What `zipfile` raises over a file that is broken, locked or made in a way that it does not know."""

_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
_FIRST_BYTES: Final = 64 * 1024
_MAIN_PART: Final = re.compile(
    rb"\.(wordprocessingml|ms-word|presentationml|ms-powerpoint|spreadsheetml|ms-excel)\.[A-Za-z.]{1,64}\.main\b"
)
_FAMILIES: Final[Mapping[bytes, str]] = {
    b"wordprocessingml": "docx", b"ms-word": "docx", b"presentationml": "pptx", b"ms-powerpoint": "pptx",
    b"spreadsheetml": "xlsx", b"ms-excel": "xlsx",
}  # fmt: skip
_FOLDERS: Final[Mapping[str, str]] = {"word": "docx", "ppt": "pptx", "xl": "xlsx"}
_OPEN_DOCUMENT: Final = b"application/vnd.oasis.opendocument."
_OPEN_DOCUMENTS: Final[Mapping[bytes, str]] = {b"text": "odt", b"spreadsheet": "ods"}
_OTHERS: Final[Mapping[str, tuple[str, str]]] = {
    "META-INF/container.xml": ("an EPUB book", "Convert it to PDF or HTML"),
    "Index/Document.iwa": ("a document of Apple's Pages, Numbers or Keynote", "Export it as DOCX, XLSX, PPTX or PDF"),
    "visio/document.xml": ("a Visio drawing", "Save it as PDF"),
    "FixedDocSeq.fdseq": ("an XPS document", "Save it as PDF"),
}
_OLE_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "WordDocument": ("a Word document of before 2007 (.doc)", "Save it as DOCX or PDF"),
    "PowerPoint Document": ("a PowerPoint file of before 2007 (.ppt)", "Save it as PPTX or PDF"),
    "Workbook": ("an Excel workbook of before 2007 (.xls)", "Save it as XLSX or CSV"),
    "Book": ("an Excel workbook of before 1997 (.xls)", "Save it as XLSX or CSV"),
    "__properties_version1.0": ("an Outlook message (.msg)", "Save it as EML or PDF"),
    "VisioDocument": ("a Visio drawing of before 2013 (.vsd)", "Save it as PDF"),
}
_ENTRY_BYTES: Final = 128
_MOST_SECTORS: Final = 256
_FIRST_FAT_SECTORS: Final = 109


class Bounded:
    """A file of which only so much is read at once: a ZIP whose directory is said to be huge is broken, and not obeyed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all that are left; raises BadZipFile for more than a directory may have."""
        if size > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is too large")
        data = self._stream.read(size if size >= 0 else _DIRECTORY_BYTES + 1)
        if len(data) > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is too large")
        return data

    def seekable(self) -> bool:
        """It is: `zipfile` goes to the end first."""
        return True


def zip_kind(stream: BinaryIO) -> str:
    """What a ZIP is: `docx`, `pptx`, `xlsx`, `odt`, `ods`, or `zip` where it is a ZIP and no more.

    Unpacks at most 64 KiB. Raises Unreadable for documents that are a ZIP and cannot be read, with the kind to convert them to.
    """
    try:
        with zipfile.ZipFile(Bounded(stream)) as file:
            names = {info.filename.replace("\\", "/"): info for info in file.infolist()}
            kind = _by_mimetype(_first(file, names.get("mimetype"))) or _by_types(
                _first(file, names.get("[Content_Types].xml"))
            )
    except BROKEN:  # what is left of its beginning may still tell, so that its reader can say what is broken
        stream.seek(0)
        return _by_beginning(stream.read(_FIRST_BYTES))
    if kind:
        return kind
    for name, (what, remedy) in _OTHERS.items():
        if name in names:
            raise unsupported(what, remedy)
    # Some programs write types that no standard knows.
    folders = {name.partition("/")[0] for name in names} if "[Content_Types].xml" in names else set()
    return next((kind for folder, kind in _FOLDERS.items() if folder in folders), "zip")


def _first(file: zipfile.ZipFile, info: zipfile.ZipInfo | None) -> bytes:
    """The first bytes of a member; none where there is no such member, or it is packed in a way that is not read."""
    if info is None or info.compress_type not in READABLE:
        return b""
    with file.open(info) as member:
        return member.read(_FIRST_BYTES)


def _by_mimetype(mimetype: bytes) -> str | None:
    if mimetype.startswith(b"application/epub+zip"):
        raise unsupported("an EPUB book", "Convert it to PDF or HTML")
    if not mimetype.startswith(_OPEN_DOCUMENT):
        return None
    family = re.split(rb"[^a-z]", mimetype.removeprefix(_OPEN_DOCUMENT), maxsplit=1)[0]
    if family not in _OPEN_DOCUMENTS:
        raise unsupported("an OpenDocument file with neither text nor sheets", "Save it as PDF")
    return _OPEN_DOCUMENTS[family]


def _by_types(types: bytes) -> str | None:
    found = _MAIN_PART.search(types)
    return _FAMILIES[found[1]] if found else None


def _by_beginning(data: bytes) -> str:
    if (place := data.find(_OPEN_DOCUMENT, 0, 256)) >= 0:
        return _by_mimetype(data[place : place + 128]) or "zip"
    if b"[Content_Types].xml" in data or b"_rels/.rels" in data:
        return next((kind for folder, kind in _FOLDERS.items() if f"{folder}/".encode() in data), "zip")
    return "zip"


def ole_problem(data: bytes) -> Unreadable:
    """Why an OLE compound file cannot be read: which program of before 2007 it is of, or that it is locked."""
    names = set(_ole_names(data))
    if "EncryptedPackage" in names:
        return Unreadable(
            "password_required", "The Office document needs a password. Save it without one, and submit it again."
        )
    for name, (what, remedy) in _OLE_KINDS.items():
        if name in names:
            return unsupported(what, remedy)
    return unsupported("an OLE compound file of no known program", "Save it as DOCX, XLSX, PPTX or PDF")


def _ole_names(data: bytes) -> Iterator[str]:
    """The names in the topmost folder of an OLE compound file: what is embedded lies further down.

    After [MS-CFB], sections 2.2 (header), 2.3 (chains of sectors) and 2.6 (the directory, whose folders are trees).
    """
    entries = _ole_directory(data)
    if not entries:
        return
    waiting, seen = [struct.unpack_from("<I", entries[0], 76)[0]], set[int]()
    while waiting:
        number = waiting.pop()
        if number in seen or number >= len(entries):
            continue
        seen.add(number)
        entry = entries[number]
        (size,) = struct.unpack_from("<H", entry, 64)
        yield entry[: max(0, min(size, 64) - 2)].decode("utf-16-le", "replace")
        waiting += struct.unpack_from("<II", entry, 68)


def _ole_directory(data: bytes) -> list[bytes]:
    header = data[:512]
    if len(header) < 512 or struct.unpack_from("<H", header, 30)[0] not in {9, 12}:
        return []
    size = 1 << struct.unpack_from("<H", header, 30)[0]
    (sector,) = struct.unpack_from("<I", header, 48)
    entries: list[bytes] = []
    for _ in range(_MOST_SECTORS):
        content = data[(sector + 1) * size : (sector + 2) * size]
        if len(content) < size:
            break
        entries += (content[place : place + _ENTRY_BYTES] for place in range(0, size, _ENTRY_BYTES))
        table, place = divmod(sector, size // 4)
        if table >= _FIRST_FAT_SECTORS:
            break
        (fat,) = struct.unpack_from("<I", header, 76 + 4 * table)
        following = data[(fat + 1) * size + 4 * place : (fat + 1) * size + 4 * place + 4]
        if len(following) < 4:
            break
        sector = int.from_bytes(following, "little")
    return entries


def unsupported(what: str, remedy: str) -> Unreadable:
    """That a document is of a kind that is not read, and what to make of it."""
    return Unreadable("unsupported_file", f"It is {what}, which cannot be read. {remedy}, and submit that.")
