"""The files in a TAR as they come, from a stream that cannot go back."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Final, Self, cast

from orchestrator.documents.packed.unpacking import BROKEN_STREAM, Budget, Counted, broken, no_file
from orchestrator.documents.reading import Unreadable

_HEADER_BYTES: Final = 1024 * 1024
"""The most that headers between two files may have: names and notes are read into memory whole."""

_ENDS: Final = frozenset({"EOFHeaderError", "EmptyHeaderError"})
"""The errors of `tarfile`, which have no public names, that are no errors."""
_MOST_ENDS: Final = 3
"""How often the end is told: `tarfile` would go on to the end of a file that is said to be endless."""


def files_in(archive: Counted, budget: Budget) -> Iterator[tuple[str, Counted | Unreadable]]:
    """The name of each file, as it was told, with its content, or why there is none; folders are left out.

    A content must be read before the next is asked for. Raises Unreadable where the archive is broken.
    """
    tape = _Tape(archive)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", tape), mode="r|", tarinfo=_Header, encoding="utf-8") as tar:
            while info := _following(tar, tape):
                if info.isdir():
                    continue
                content = None if info.issym() or info.islnk() else tar.extractfile(info)
                if content is None:
                    yield info.name, no_file()
                    continue
                # What is left out of a sparse file was never unpacked, and so not counted.
                file = Counted(content, budget, tape.count_since_here() if info.issparse() else None)
                yield info.name, file
                if file.problem:
                    return
    except BROKEN_STREAM as error:
        raise broken(error) from None


def _following(tar: tarfile.TarFile, tape: _Tape) -> tarfile.TarInfo | None:
    """The next header; what is left of the file before it is passed over."""
    tape.allow(max(tar.offset - tape.count, 0) + _HEADER_BYTES)
    info = tar.next()
    tar.members = []  # type: ignore[attr-defined]  # it would remember them all
    tape.allow(None)
    return info


class _Header(tarfile.TarInfo):
    """A header; `tarfile` would take a broken one, behind the first, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ in _ENDS:
                raise
            raise broken(error) from None


class _Tape:
    """A stream of which only so much is read before the next header is there."""

    def __init__(self, stream: Counted) -> None:
        self._stream = stream
        self.count = 0
        """Bytes read so far."""
        self._left: int | None = _HEADER_BYTES
        self._ends = 0

    def allow(self, size: int | None) -> None:
        """So many bytes may be read from here; None for any number."""
        self._left = size

    def read(self, size: int) -> bytes:
        """At most so many bytes; raises what `tarfile` knows to be errors at the end of what may be read, and behind the end."""
        data = self._stream.read(size) or b""
        self.count += len(data)
        self._ends += not data
        if self._ends > _MOST_ENDS:
            raise EOFError
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise tarfile.ReadError("its headers have no end")
        return data

    def count_since_here(self) -> Callable[[], int]:
        """Says how many bytes were read since this was asked for."""
        start = self.count
        return lambda: self.count - start
