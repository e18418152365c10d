"""Documents that are ZIP archives of XML (DOCX, PPTX, XLSX, ODT, ODS): their parts, bounded before they are unpacked, and read safely."""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

from lxml import etree

from orchestrator.documents.containers import BROKEN, OLE_MARK, READABLE, Bounded, ole_problem
from orchestrator.documents.reading import Limits, Unreadable

MIB: Final = 1024 * 1024
MOST_RATIO: Final = 300
"""Unpacked bytes a packed one: the XML of offices has 5 to 50, a bomb a thousand."""
SMALL_BYTES: Final = MIB
"""Below this a part may have any ratio."""
MOST_XML_BYTES: Final = 40 * MIB
"""Of one part that becomes a tree, which takes up to ten times as much memory."""
MOST_ENTRIES: Final = 20
"""Entries of all kinds, as a multiple of the parts that are allowed: pictures and relations are never unpacked, but are listed."""

_ENTRY: Final = b"PK\x01\x02"
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_STRICT: Final = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_DC_TITLE: Final = "{http://purl.org/dc/elements/1.1/}title"
_RELATION: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class Container:
    """The parts of a document by their names. Raises Unreadable for one that is broken, locked, or over a limit."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        if data.startswith(OLE_MARK):
            raise ole_problem(data)
        if data.count(_ENTRY) > limits.max_parts * MOST_ENTRIES:
            raise _too_many_parts(limits)
        self._data = data
        try:
            self._zip = zipfile.ZipFile(Bounded(io.BytesIO(data)))
            entries = self._zip.infolist()
        except BROKEN as error:
            raise _broken(error) from None
        self._entries = {
            entry.filename.replace("\\", "/").lstrip("/"): entry for entry in entries if not entry.is_dir()
        }
        _check(self._entries, limits)

    @property
    def names(self) -> tuple[str, ...]:
        """The parts, in the archive's order."""
        return tuple(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """A part's bytes, as many as the archive's list says at most; raises Unreadable where it is not there."""
        if name not in self._entries:
            raise Unreadable(
                "unreadable_file", f"It is broken: its part {name[:80]} is missing. Save it anew in its program."
            )
        try:
            return self._zip.read(self._entries[name])
        except BROKEN as error:
            raise _broken(error) from None

    def xml(self, name: str) -> Any:
        """A part as a tree, without entities or anything from outside."""
        if name in self._entries and self._entries[name].file_size > MOST_XML_BYTES:
            raise Unreadable(
                "file_too_large", f"Its part {name[:80]} has over {MOST_XML_BYTES // MIB} MiB unpacked. Split it."
            )
        return parsed(self.read(name))

    def optional_xml(self, name: str) -> Any | None:
        """A part as a tree, or None where it is not there."""
        return self.xml(name) if name in self._entries else None

    def relations(self, part: str) -> Mapping[str, tuple[str, str]]:
        """What an OOXML part points at within the archive, by its id: the last word of the relation's kind, and the other part's name."""
        folder = posixpath.dirname(part)
        found: dict[str, tuple[str, str]] = {}
        for one in self._listed(part):
            target = one.get("Target", "")
            if one.get("TargetMode") != "External" and "\0" not in target:
                whole = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
                found[one.get("Id", "")] = (posixpath.basename(one.get("Type", "")), posixpath.normpath(whole))
        return found

    def links(self, part: str) -> Mapping[str, str]:
        """Where the links of an OOXML part lead, by their ids. Nothing follows them."""
        return {
            one.get("Id", ""): one.get("Target", "")
            for one in self._listed(part)
            if one.get("TargetMode") == "External"
        }

    def told_title(self) -> str:
        """The title that the description of an OOXML document gives."""
        tree = self.optional_xml("docProps/core.xml")
        return "" if tree is None else (tree.findtext(_DC_TITLE) or "")

    def _listed(self, part: str) -> list[Any]:
        folder, base = posixpath.split(part)
        tree = self.optional_xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        return [] if tree is None else list(tree.iter(_RELATION))

    def check_sizes(self) -> None:
        """Unpack every part without keeping it: for libraries that do not stop at the size that the archive's list gives."""
        view = memoryview(self._data)
        for entry in self._entries.values():
            head = view[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
            try:
                magic, name, extra = _LOCAL_HEADER.unpack(head)
            except struct.error as error:
                raise _broken(error) from None
            start = entry.header_offset + _LOCAL_HEADER.size + name + extra
            if magic != b"PK\x03\x04":
                raise _broken(zipfile.BadZipFile("no header"))
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                _check_inflated(view[start : start + entry.compress_size], entry.file_size)


def parsed(data: bytes) -> Any:
    """XML as a tree. A document type is refused: nothing that we read needs one, and it is the way to bombs and to other files."""
    sixteen = b"\0" in data[:4]
    if b"<!DOCTYPE" in data or (sixteen and b"<!DOCTYPE" in data.replace(b"\0", b"")):
        raise _has_type()
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        tree = etree.fromstring(_STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", data), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _broken(error) from None
    if tree.getroottree().docinfo.internalDTD is not None:
        raise _has_type()
    return tree


def _check(entries: Mapping[str, zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse what cannot be unpacked, or would be too much."""
    parts = [name for name in entries if not name.endswith(".rels") and "/media/" not in f"/{name}"]
    if len(parts) > limits.max_parts or len(entries) > limits.max_parts * MOST_ENTRIES:
        raise _too_many_parts(limits)
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise Unreadable("password_required", "It is locked with a password. Save it without one, and submit it again.")
    if any(entry.compress_type not in READABLE for entry in entries.values()):
        raise Unreadable("unreadable_file", "It is packed in a way that no office program uses. Save it anew in one.")
    if sum(entry.file_size for entry in entries.values()) > limits.max_unpacked_bytes:
        most = limits.max_unpacked_bytes // MIB
        raise Unreadable("file_too_large", f"It has over {most} MiB when it is unpacked, the most. Split it.")
    for entry in entries.values():
        if entry.file_size > max(SMALL_BYTES, MOST_RATIO * entry.compress_size):
            raise Unreadable(
                "unreadable_file",
                f"It unpacks to over {MOST_RATIO} times its size, as only bombs do. Save it anew in its program.",
            )


def _check_inflated(packed: memoryview, size: int) -> None:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = size
    try:
        piece = inflater.decompress(packed, MIB)
        while piece:
            left -= len(piece)
            if left < 0:
                raise Unreadable(
                    "unreadable_file", "A part of it is larger than its list says. Save it anew in its program."
                )
            piece = inflater.decompress(inflater.unconsumed_tail, MIB)
    except zlib.error as error:
        raise _broken(error) from None


def _broken(error: Exception) -> Unreadable:
    cause = f"{type(error).__name__}: {error}"[:200]
    return Unreadable("unreadable_file", f"It is broken ({cause}). Save it anew in its program.")


def _has_type() -> Unreadable:
    return Unreadable(
        "unreadable_file", "It declares a document type, as no office program does. Save it anew in its program."
    )


def _too_many_parts(limits: Limits) -> Unreadable:
    return Unreadable("file_too_large", f"It has over {limits.max_parts:,} parts, the most. Split it.")
