"""Opening a file that a table names, and never one outside of the table's folder."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from orchestrator.documents.files import MAX_DEPTH, open_regular, unreadable
from orchestrator.documents.lines import Unfit

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def checked_name(name: str) -> str:
    """A relative path as it is opened; raises Unfit for one that leads out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute():
        raise Unfit("not_a_file", "Its path is absolute. Give paths that are relative to the table's folder.")
    if ".." in path.parts:
        raise Unfit(
            "not_a_file", "Its path has `..` in it. Only files below the table's folder are read: put it there."
        )
    if not path.parts:
        raise Unfit("not_a_file", "Its path names no file. Give paths that are relative to the table's folder.")
    if len(path.parts) > MAX_DEPTH:
        raise Unfit("not_a_file", f"Its path is over {MAX_DEPTH} folders deep. Put the file nearer to the table.")
    return str(path)


def open_beneath(folder: Path, name: str) -> BinaryIO:
    """A regular file by a name that was checked; raises Unfit for a link, for what lies behind one, and for anything else.

    The way is gone folder by folder without following links, and what is opened in the end must be what lies there: whoever
    exchanges a folder for a link in the meantime does not have another file read.
    """
    there = _status(folder, PurePosixPath(name).parts)
    stream = open_regular(folder / name, follow=False)
    found = os.fstat(stream.fileno())
    if (found.st_dev, found.st_ino) != (there.st_dev, there.st_ino):
        stream.close()
        raise _link()
    return stream


def _status(folder: Path, parts: tuple[str, ...]) -> os.stat_result:
    """What lies at the end of a way without links."""
    with ExitStack() as opened:
        try:
            place = os.open(folder, _FOLDER)
            opened.callback(os.close, place)
            for part in parts[:-1]:
                _refuse_link(os.stat(part, dir_fd=place, follow_symlinks=False))
                place = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
                opened.callback(os.close, place)
            found = os.stat(parts[-1], dir_fd=place, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise Unfit(
                "unreadable_file", "There is no such file below the table's folder. Check the path, or put it there."
            ) from None
        except (OSError, ValueError) as error:
            raise unreadable(error, "file") from error
    _refuse_link(found)
    return found


def _refuse_link(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _link()


def _link() -> Unfit:
    return Unfit(
        "not_a_file",
        "It is a link or lies behind one, and links are not followed. Put the file itself below the table.",
    )
