"""The documents in a ZIP or a TAR, one after the other: `members` is the way in.

Nothing is written under a name that an archive tells: names become parts of ids, and are made harmless. One member is held at a
time, and of a large one only a piece; archives within archives are unpacked as well, and all of them are bounded together.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from orchestrator.documents.containers import BROKEN, READABLE, ZIP_MARKS, Bounded, zip_kind
from orchestrator.documents.kinds import packing_of
from orchestrator.documents.packed.tapes import files_in
from orchestrator.documents.packed.unpacking import (
    CHUNK_BYTES,
    Bounds,
    Budget,
    Counted,
    Unpacked,
    broken,
    no_file,
    no_room,
)
from orchestrator.documents.reading import Unreadable

__all__ = ["Bounds", "Member", "archive_kind", "members", "safe_name"]

_HEAD_BYTES: Final = 512
_MOST_NAME: Final = 400
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_OF_MACOS: Final = "__MACOSX/"
"""What macOS notes of each file, beside the files."""
_LOCAL_HEADER_BYTES: Final = 30
_LOCKED: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, and either its content or why it cannot be read."""

    name: str
    """With the archive's within the archive before it; safe for ids."""
    stream: BinaryIO | None = None
    """To be read before the next member is asked for; reading it raises Unreadable where it is broken or over a bound."""
    problem: Unreadable | None = None


def archive_kind(stream: BinaryIO) -> str | None:
    """Which archive an open file is: `zip`, `tar`, `gzip`, `bzip2` or `xz`; None for a document, a DOCX among them."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    kind = _zip_kind(stream) if head.startswith(ZIP_MARKS) else packing_of(head)
    stream.seek(0)
    return kind


def members(stream: BinaryIO, name: str, bounds: Bounds | None = None) -> Iterator[Member]:
    """The files in an archive, which must be one by `archive_kind` and able to seek; `name` is its own.

    Folders are left out. Each file that cannot be read is a member with a problem; where the archive itself is broken or over a bound,
    the last member bears its name and says so.
    """
    budget = Budget(bounds or Bounds())
    path = safe_name(name)
    stream.seek(0)
    archive = Counted(stream, budget, None)
    head = archive.peek(_HEAD_BYTES)
    is_empty = True
    for member in (
        _in_zip(stream, path, budget, 1)
        if head.startswith(ZIP_MARKS)
        else _in_packing(archive, packing_of(head), path, budget, 1)
    ):
        is_empty = False
        yield member
    if budget.problem:
        yield Member(path, problem=budget.problem)
    elif is_empty:
        problem = Unreadable("empty_file", "The archive holds no files. Put some in, or leave it out.")
        yield Member(path, problem=problem)


def safe_name(name: str) -> str:
    """A name in an archive without what could lead out of a folder, or confuse who reads it; both ends of a long one."""
    parts = name.replace("\\", "/").split("/")
    kept = "/".join(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", part) for part in parts if part not in {"", ".", ".."})
    if len(kept) > _MOST_NAME:
        digest = hashlib.sha256(kept.encode()).hexdigest()[:16]
        return f"{kept[: _MOST_NAME // 2]}~{digest}~{kept[-_MOST_NAME // 4 :]}"
    return kept or "unnamed"


def _zip_kind(stream: BinaryIO) -> str | None:
    """`zip`, or None for a ZIP that is a document of whatever kind, also of one that cannot be read."""
    try:
        return "zip" if zip_kind(stream) == "zip" else None
    except Unreadable:
        return None


def _in_zip(stream: BinaryIO, path: str, budget: Budget, depth: int) -> Iterator[Member]:
    try:
        file = zipfile.ZipFile(Bounded(stream))
    except BROKEN as error:
        yield Member(path, problem=broken(error))
        return
    with file:
        dishonest = _dishonest(file)
        for info in file.infolist():
            if info.is_dir() or info.filename.startswith(_OF_MACOS):
                continue
            if not budget.count_member():
                return
            name = f"{path}/{safe_name(info.orig_filename)}"
            if problem := _problem_of(info, dishonest):
                yield Member(name, problem=problem)
                continue
            yield from _in_member(file, info, name, budget, depth)
            if budget.problem:
                return


def _in_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, budget: Budget, depth: int) -> Iterator[Member]:
    try:
        content = file.open(info)
    except BROKEN as error:
        yield Member(name, problem=broken(error))
        return
    with content:
        yield from _in_file(Counted(content, budget, lambda: info.compress_size), name, budget, depth)


def _dishonest(file: zipfile.ZipFile) -> set[int]:
    """The places of members that reach into others or out of the archive: so little is made to seem much."""
    infos = sorted(file.infolist(), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in infos), file.start_dir]
    return {
        info.header_offset
        for info, end in zip(infos, starts[1:], strict=True)
        if info.header_offset + _LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size > end
    }


def _problem_of(info: zipfile.ZipInfo, dishonest: set[int]) -> Unreadable | None:
    """Why a member of a ZIP is not read."""
    mode = info.external_attr >> 16
    if info.flag_bits & _LOCKED:
        return Unreadable(
            "password_required", "It is locked with a password. Unpack the archive, and submit its files."
        )
    if info.header_offset in dishonest:
        return Unreadable(
            "unreadable_file", "It shares its bytes with other files of the archive. Make the archive anew."
        )
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        return no_file()
    if info.compress_type not in READABLE:
        message = "It is packed in a way that is not read. Make the archive anew, with Deflate."
        return Unreadable("unsupported_file", message)
    return None


def _in_packing(archive: Counted, kind: str | None, path: str, budget: Budget, depth: int) -> Iterator[Member]:
    """The files in a TAR, whether it is packed or not; the one file in what is packed and no TAR."""
    content = archive
    try:
        if kind in {"gzip", "bzip2", "xz"}:
            packing = Unpacked(archive, kind)
            content = Counted(packing, budget, lambda: packing.packed)
            if packing_of(content.peek(_HEAD_BYTES)) != "tar":
                budget.count_member()
                own = PurePosixPath(path)
                yield from _in_file(content, f"{path}/{own.stem or own.name}", budget, depth)
                return
        yield from _in_tar(content, path, budget, depth)
    except Unreadable as problem:
        if not budget.problem:
            yield Member(path, problem=problem)


def _in_tar(archive: Counted, path: str, budget: Budget, depth: int) -> Iterator[Member]:
    for told, content in files_in(archive, budget):
        if not budget.count_member():
            return
        name = f"{path}/{safe_name(told)}"
        if isinstance(content, Unreadable):
            yield Member(name, problem=content)
        else:
            yield from _in_file(content, name, budget, depth)
        if budget.problem:
            return


def _in_file(content: Counted, name: str, budget: Budget, depth: int) -> Iterator[Member]:
    """A member: itself, or what is in it where it is an archive."""
    try:
        head = content.peek(_HEAD_BYTES)
    except Unreadable as problem:
        yield Member(name, problem=problem)
        return
    packing = packing_of(head)
    if head.startswith(ZIP_MARKS):
        yield from _in_inner_zip(content, name, budget, depth)
    elif not packing:
        yield Member(name, io.BufferedReader(content, CHUNK_BYTES))
    elif depth >= budget.bounds.max_depth:
        yield Member(name, problem=_too_deep(budget.bounds))
    else:
        yield from _in_packing(content, packing, name, budget, depth + 1)


def _in_inner_zip(content: Counted, name: str, budget: Budget, depth: int) -> Iterator[Member]:
    """What is in a ZIP within an archive; its directory is at its end, so a copy without a name is made of it."""
    try:
        with tempfile.TemporaryFile() as copy:
            while piece := content.read(CHUNK_BYTES):
                copy.write(piece)
            if _zip_kind(copy) is None:
                copy.seek(0)
                yield Member(name, copy)
            elif depth >= budget.bounds.max_depth:
                yield Member(name, problem=_too_deep(budget.bounds))
            else:
                yield from _in_zip(copy, name, budget, depth + 1)
    except Unreadable as problem:
        yield Member(name, problem=problem)
    except OSError as error:
        yield Member(name, problem=no_room(error))


def _too_deep(bounds: Bounds) -> Unreadable:
    message = f"Archives are nested over {bounds.max_depth} deep. Unpack it, and submit the files in it."
    return Unreadable("unreadable_file", message)
