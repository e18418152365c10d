"""Opening what a caller points at: regular files only, never a link inside a folder, never anything that blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.documents.lines import Unfit
from orchestrator.errors import TooLarge

MAX_DEPTH: Final = 64
MAX_FILES: Final = 1_000_000

_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One thing in a folder: where it is, its name as people see it, and why it cannot be read where that is known."""

    path: Path
    name: str
    unfit: Unfit | None = None


def walk(root: Path) -> Iterator[Found]:
    """Everything below a folder that is not a folder itself, by name, with one listing held at a time.

    A folder that cannot be listed and a link are found as well, as unfit. Raises TooLarge beyond a million files.
    """
    for count, found in enumerate(_walk(root, "", 0), 1):
        if count > MAX_FILES:
            raise TooLarge(f"{root} holds more than {MAX_FILES:,} files. Submit its folders one by one.")
        yield found


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[Found]:
    here = prefix.rstrip("/") or "."
    if depth > MAX_DEPTH:
        yield Found(
            folder, here, Unfit("unreadable_file", f"Folders are nested over {MAX_DEPTH} deep. Submit this one apart.")
        )
        return
    try:
        with os.scandir(folder) as entries:
            listing = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
    except OSError as error:
        yield Found(folder, here, unreadable(error, "folder"))
        return
    for name, is_folder, is_link in listing:
        path, shown = folder / name, f"{prefix}{name}"
        if is_link:
            yield Found(
                path, shown, Unfit("not_a_file", "It is a link, and links are not followed. Submit what it points to.")
            )
        elif is_folder:
            yield from _walk(path, f"{shown}/", depth + 1)
        else:
            yield Found(path, shown)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # it vanished: opening it will say so
        return False


def open_regular(path: Path, *, follow: bool) -> BinaryIO:
    """A regular file, open for reading; raises Unfit for anything else.

    Its kind is checked before opening (opening a device can have effects) and after (it may have been exchanged).
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        _refuse_irregular(path.stat(follow_symlinks=follow).st_mode)
        descriptor = os.open(path, flags)
        try:
            _refuse_irregular(os.fstat(descriptor).st_mode)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, ValueError) as error:
        raise unreadable(error, "file") from error


def _refuse_irregular(mode: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise Unfit(
                "not_a_file", f"It is {name}, not a file. Submit a regular file, or `-` to read standard input."
            )


def unreadable(error: OSError | ValueError, what: str) -> Unfit:
    """Why a file or folder cannot be read, with what the caller can do."""
    if isinstance(error, PermissionError):
        return Unfit("unreadable_file", f"Permission to read the {what} is denied. Make it readable for this user.")
    if isinstance(error, FileNotFoundError):
        return Unfit("unreadable_file", f"The {what} vanished before it was read. Submit it again.")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Unfit(
        "unreadable_file", f"The {what} cannot be read: {reason}. Check the disk and the name, and submit it again."
    )


def read_whole(stream: BinaryIO, limit_bytes: int, what: str) -> bytes:
    """All bytes of a file; raises Unfit where they are none or over the limit, without reading more than that."""
    try:
        data = stream.read(limit_bytes + 1)
    except OSError as error:
        raise unreadable(error, "file") from error
    if not data:
        raise Unfit("empty_file", "The file is empty. Give it some content, or leave it out.")
    if len(data) > limit_bytes:
        raise Unfit(
            "file_too_large", f"{what} may have at most {limit_bytes:,} bytes, and this has more. Split or shrink it."
        )
    return data
