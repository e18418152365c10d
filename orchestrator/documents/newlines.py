"""Lines of a byte stream in bounded memory, whatever ends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from orchestrator.documents.files import unreadable

CHUNK_BYTES: Final = 64 * 1024
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end; `data` is empty where it was too long to be kept, and `too_long` says its size."""

    number: int
    data: bytes
    too_long: int = 0


def lines_of(stream: BinaryIO, limit_bytes: int) -> Iterator[Line]:
    r"""The lines of a stream, ended by LF, CR LF or CR alone, without a byte order mark at the start.

    Of a line over the limit nothing is kept: it is read in pieces and counted. Raises Unfit where reading fails.
    """
    pieces: list[bytes] = []
    size = 0
    number = 1
    for chunk in _chunks(stream):
        first, *others = chunk.split(b"\n")
        for part in (first, *others[:-1]) if others else ():
            yield _line(number, pieces, part, size + len(part), limit_bytes)
            pieces, size, number = [], 0, number + 1
        rest = others[-1] if others else first
        size += len(rest)
        if size > limit_bytes:
            pieces = []
        elif rest:
            pieces.append(rest)
    if size:
        yield _line(number, pieces, b"", size, limit_bytes)


def _line(number: int, pieces: list[bytes], part: bytes, size: int, limit_bytes: int) -> Line:
    if size > limit_bytes:
        return Line(number, b"", too_long=size)
    return Line(number, b"".join([*pieces, part]))


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of a stream as they come, with every line end made a LF; a CR LF may be cut by a piece's end."""
    read = getattr(stream, "read1", stream.read)  # what a pipe has now, rather than a full buffer later
    held, start = b"", True
    while True:
        try:
            chunk = read(CHUNK_BYTES)
        except OSError as error:
            raise unreadable(error, "file") from error
        if not chunk:
            break
        data = held + chunk
        if start and len(data) < len(BOM) and BOM.startswith(data):
            held = data
            continue
        if start:
            data, start = data.removeprefix(BOM), False
        held = b"\r" if data.endswith(b"\r") else b""
        yield _unified(data.removesuffix(b"\r"))
    if held:
        yield _unified(held)


def _unified(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
