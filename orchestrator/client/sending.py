"""A file on its way to the service: a form that is made piece by piece, and where its bytes come from."""

from __future__ import annotations

import asyncio
import stat
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.client.lines import LineFile
from orchestrator.errors import InvalidRequest

PIECE_BYTES: Final = 1 << 16


class Source:
    """The bytes of an upload, in pieces: opened anew for each try, where that is possible."""

    def __init__(self, opened: Callable[[], Iterator[bytes]], *, can_repeat: bool, size: int | None = None) -> None:
        self._opened, self._can_repeat = opened, can_repeat
        self.size = size
        """In bytes, where that is known beforehand."""
        self._begun = False

    @property
    def may_repeat(self) -> bool:
        """Whether another try can send all of it: it can be read again, or nothing of it was read yet."""
        return self._can_repeat or not self._begun

    def pieces(self) -> Iterator[bytes]:
        """All pieces, from the first."""
        for piece in self._opened():
            self._begun = True
            yield piece

    async def read_aside(self) -> AsyncIterator[bytes]:
        """The same for a loop that must not stand still: each piece is read on a thread."""
        pieces = self.pieces()
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece


class AsyncSource:
    """The bytes of an upload that come from asynchronous code, a line at a time. They can be read once."""

    size: None = None

    def __init__(self, lines: AsyncIterable[bytes]) -> None:
        self._lines = lines
        self._begun = False

    @property
    def may_repeat(self) -> bool:
        """Whether another try can send all of it: only if nothing was read yet."""
        return not self._begun

    async def read_aside(self) -> AsyncIterator[bytes]:
        """All pieces, each of whole lines."""
        piece = bytearray()
        async for line in self._lines:
            self._begun = True
            piece += line if line.endswith(b"\n") else line + b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)


def of_lines(lines: Iterable[bytes]) -> Source:
    """Lines as they are made; a collection of them can be sent again, a generator cannot."""
    return Source(lambda: _read(LineFile(lines)), can_repeat=iter(lines) is not lines)


def of_rows(rows: Callable[[], Iterator[bytes]]) -> Source:
    """Lines that can be made again from the beginning."""
    return Source(lambda: _read(LineFile(rows())), can_repeat=True)


def of_file(path: Path) -> Source:
    """A file, or what a pipe gives, which comes once; raises InvalidRequest where it cannot be read."""
    try:
        found = path.stat()
        if not stat.S_ISFIFO(found.st_mode):  # opening a pipe waits for its writer
            path.open("rb").close()
    except FileNotFoundError:
        raise InvalidRequest(f"There is no file {path}.") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    if stat.S_ISREG(found.st_mode):
        return Source(lambda: _read_file(path, found.st_size), can_repeat=True, size=found.st_size)
    return Source(lambda: _read_stream(path), can_repeat=False)


def _read(file: LineFile) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _read_stream(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _read_file(path: Path, size: int) -> Iterator[bytes]:
    """So many bytes of a file: as many as were announced."""
    left = size
    with path.open("rb") as file:
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece
    if left:
        raise InvalidRequest(f"{path} became shorter while it was sent. Send it when nobody writes to it.")


class Form:
    """A multipart form with some fields and one file."""

    def __init__(self, fields: Mapping[str, str], filename: str) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_sendable(filename)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self.head = "".join([*parts, head]).encode()
        self.tail = f"\r\n--{boundary}--\r\n".encode()

    def headers(self, size: int | None) -> dict[str, str]:
        """Its headers, for a file of so many bytes; None where that is not known."""
        told = {"Content-Type": self.content_type}
        if size is not None:
            told["Content-Length"] = str(len(self.head) + size + len(self.tail))
        return told

    def around(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The whole body."""
        yield self.head
        yield from pieces
        yield self.tail

    async def around_aside(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The whole body, for asynchronous code."""
        yield self.head
        async for piece in pieces:
            yield piece
        yield self.tail


def _sendable(filename: str) -> str:
    """A name as a form can carry it; names of files need not be text."""
    text = filename.encode("utf-8", "replace").decode()
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
