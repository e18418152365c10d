"""Packed bytes unpacked as a stream, within bounds that are kept while they are read: nothing is trusted that a header says."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.documents.containers import BROKEN
from orchestrator.documents.reading import Unreadable

CHUNK_BYTES: Final = 64 * 1024
BROKEN_STREAM: Final = (*BROKEN, tarfile.TarError, lzma.LZMAError)
"""What reading a broken archive raises."""

_XZ_MEMORY_BYTES: Final = 128 * 1024 * 1024
"""Of its window: `xz -9` takes 65 MiB."""
_MOST_EMPTY: Final = 100
"""Empty files in a row within one: some programs write one at the end."""
_FREE_BYTES: Final = 16 * 1024 * 1024
"""What may be unpacked from next to nothing: small files of one letter are no attack."""


class Readable(Protocol):
    """Whatever can be read from, as archives hand out their members."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one archive may come to, with all archives in it."""

    max_members: int = 100_000
    max_unpacked_bytes: int = 8 * 1024**3
    max_ratio: int = 200
    """Of what is unpacked to what it is unpacked from, beyond 16 MiB. Deflate gets to 1,032, text to 20 or so."""
    max_depth: int = 2
    """Archives within archives: 2 is one in another."""


class Budget:
    """What is left of an archive's bounds, counted down by every stream that is unpacked from it."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.problem: Unreadable | None = None
        """Why no more is read of the archive."""
        self._members = self._bytes = 0

    def count_member(self) -> bool:
        """Count another one; False where that is one too many."""
        self._members += 1
        if self._members > self.bounds.max_members:
            message = f"The archive holds over {self.bounds.max_members:,} files. Split it."
            self.problem = Unreadable("file_too_large", message)
        return self.problem is None

    def count(self, size: int, *, unpacked: int, packed: int) -> None:
        """So many bytes more of a stream; raises Unreadable where its ratio, or all of them together, are over the bounds."""
        self._bytes += size
        if self._bytes > self.bounds.max_unpacked_bytes:
            message = f"The archive unpacks to over {self.bounds.max_unpacked_bytes:,} bytes. Split it."
            self.problem = Unreadable("file_too_large", message)
            raise self.problem
        if unpacked > _FREE_BYTES + self.bounds.max_ratio * packed:
            message = (
                f"It unpacks to over {self.bounds.max_ratio} times its size, as attacks do. Unpack it, and submit that."
            )
            raise Unreadable("file_too_large", message)


class Counted(io.RawIOBase):
    """A stream whose bytes are counted against a budget; what it raises is Unreadable, whatever is wrong with it."""

    def __init__(self, stream: Readable, budget: Budget, packed: Callable[[], int] | None) -> None:
        """`packed` says how many bytes it was unpacked from so far; without it nothing is counted, since that is done below."""
        self._stream, self._budget, self._packed = stream, budget, packed
        self._unpacked = 0
        self._ahead = b""
        self.problem: Unreadable | None = None
        """What was wrong with it."""

    def readable(self) -> bool:
        """It is."""
        return True

    def peek(self, size: int) -> bytes:
        """Its first bytes, which will be read again; to be called before all others."""
        while len(self._ahead) < size and (piece := self._next(size - len(self._ahead))):
            self._ahead += piece
        return self._ahead

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or less of it; raises Unreadable."""
        data = self._ahead[: len(buffer)] or self._next(min(len(buffer), CHUNK_BYTES))
        self._ahead = self._ahead[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        try:
            data = self._stream.read(size) or b""
            self._unpacked += len(data)
            if self._packed:
                self._budget.count(len(data), unpacked=self._unpacked, packed=self._packed())
        except Unreadable as problem:
            self.problem = problem
            raise
        except BROKEN_STREAM as error:
            self.problem = broken(error)
            raise self.problem from None
        return data


class Unpacked(io.RawIOBase):
    """What a GZIP, BZIP2 or XZ file unpacks to, of which it may hold several one after the other."""

    def __init__(self, stream: Readable, kind: str) -> None:
        self._stream, self._kind = stream, kind
        self._unpacker: Any = None
        self._waiting = b""
        self._is_empty, self._empty = True, 0
        self.packed = 0
        """How many bytes of the file were read."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or less of it; raises EOFError for a file that is cut, and what the libraries raise for a broken one."""
        while True:
            if self._unpacker is None and not self._begun():
                return 0
            data = self._piece(min(len(buffer), CHUNK_BYTES))
            if data:
                self._is_empty = False
                buffer[: len(data)] = data
                return len(data)

    def _begun(self) -> bool:
        """Begin the next of the files in it, if there is one; padding with NUL is none."""
        self._waiting = (self._waiting or self._read()).lstrip(b"\0")
        if not self._waiting:
            return False
        self._empty = self._empty + 1 if self._is_empty else 0
        if self._empty > _MOST_EMPTY:
            raise ValueError("empty files without end")
        self._is_empty = True
        if self._kind == "gzip":
            self._unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        elif self._kind == "bzip2":
            self._unpacker = bz2.BZ2Decompressor()
        else:
            self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
        return True

    def _piece(self, size: int) -> bytes:
        """The next bytes, at most so many; none where only the state of the unpacker went on."""
        unpacker = self._unpacker
        if self._kind == "gzip":
            if not self._waiting:
                self._waiting = self._needed()
            data: bytes = unpacker.decompress(self._waiting, size)
            self._waiting = unpacker.unconsumed_tail
        else:
            given = self._waiting or (self._needed() if unpacker.needs_input else b"")
            data, self._waiting = unpacker.decompress(given, size), b""
        if unpacker.eof:
            self._waiting, self._unpacker = unpacker.unused_data, None
        return data

    def _read(self) -> bytes:
        data = self._stream.read(CHUNK_BYTES) or b""
        self.packed += len(data)
        return data

    def _needed(self) -> bytes:
        data = self._read()
        if not data:
            raise EOFError("it is cut")
        return data


def broken(error: Exception) -> Unreadable:
    """That a stream of an archive cannot be read, whatever the library says."""
    if isinstance(error, EOFError):
        return Unreadable("unreadable_file", "The archive is cut off here. Make it anew.")
    return Unreadable("unreadable_file", f"The archive is broken here ({type(error).__name__}). Make it anew.")


def no_file() -> Unreadable:
    """That a member is a link or a device."""
    return Unreadable("unsupported_file", "It is a link or a device, not a file. Put the file itself into the archive.")


def no_room(error: OSError) -> Unreadable:
    """That no copy can be made of a member."""
    message = f"There is no room for a copy of it ({error.strerror}). Free some space, or set TMPDIR to another folder."
    return Unreadable("unreadable_file", message)
