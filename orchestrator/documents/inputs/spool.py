"""Copies of documents that have no file of their own, in one folder, under numbers: no name from outside becomes a name there."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.documents.files import open_regular
from orchestrator.documents.inputs.document import Input, too_large
from orchestrator.documents.lines import Unfit
from orchestrator.documents.reading import Limits

MOST_BYTES: Final = Limits().max_bytes
"""Of one copy: nothing larger is read as a document."""


class Spool:
    """Makes the copies. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def keep(self, pieces: Iterable[bytes], most_bytes: int = MOST_BYTES) -> Path:
        """A copy of what comes in pieces; raises Unfit beyond the bound and where there is no room, and leaves nothing then.

        The pieces must raise no OSError of their own: it would be taken for one of the disk.
        """
        path: Path | None = None
        size = 0
        try:
            path, file = self._new()
            with file:
                for piece in pieces:
                    size += len(piece)
                    if size > most_bytes:
                        raise too_large(most_bytes)
                    file.write(piece)
        except OSError as error:
            drop(path)
            raise no_room(error) from error
        except BaseException:
            drop(path)
            raise
        return path

    def _new(self) -> tuple[Path, BinaryIO]:
        """A file under the next number that is free."""
        for number in self._numbers:
            path = self._folder / str(number)
            with suppress(FileExistsError):
                return path, open(path, "xb", opener=_private)
        raise AssertionError("numbers have no end")


class Fetched:
    """A document that is copied when it is opened first, and once; what went wrong then is told each time."""

    def __init__(self, spool: Spool, pieces: Callable[[], Generator[bytes, None, None]]) -> None:
        self._spool, self._pieces = spool, pieces
        self._lock = threading.Lock()
        self._found: Path | Unfit | None = None

    def open(self) -> BinaryIO:
        """The copy; raises Unfit."""
        with self._lock:
            if self._found is None:
                self._found = self._fetched()
            if isinstance(self._found, Unfit):
                raise self._found
            return open_regular(self._found, follow=False)

    def done(self) -> None:
        """The copy may go."""
        with self._lock:
            if isinstance(self._found, Path):
                drop(self._found)

    def _fetched(self) -> Path | Unfit:
        try:
            with closing(self._pieces()) as pieces:
                return self._spool.keep(pieces)
        except Unfit as unfit:
            return unfit


def kept(name: str, path: Path) -> Input:
    """A document whose copy was made already."""
    return Input(name, partial(open_regular, path, follow=False), done=partial(drop, path))


def drop(path: Path | None) -> None:
    """Remove a copy, if there is one; its folder goes in the end with whatever could not be removed."""
    with suppress(OSError):
        if path is not None:
            path.unlink(missing_ok=True)


def no_room(error: OSError) -> Unfit:
    """That no copy could be written."""
    reason = error.strerror or "the disk gives no reason"
    return Unfit(
        "unreadable_file", f"There is no room for a copy of it ({reason}). Free some space, or set TMPDIR elsewhere."
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
