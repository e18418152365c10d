"""Lines into a stream that an upload reads by pieces, and pieces of a download into lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class LineFile:
    """An iterable of bytes as a file that is read once, front to back. A line without its newline gets one."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        """The next bytes, at least one line of them; nothing at the end."""
        while len(self._rest) < size:
            line = next(self._lines, None)
            if line is None:
                break
            self._rest += line if line.endswith(b"\n") else line + b"\n"
        piece = bytes(self._rest[:size])
        del self._rest[:size]
        return piece


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of bytes that end anywhere; blank ones are left out."""
    rest: list[bytes] = []
    for piece in pieces:
        first, *more = piece.split(b"\n")
        rest.append(first)
        for part in more:
            line = b"".join(rest)
            rest = [part]
            if line.strip():
                yield line
    last = b"".join(rest)
    if last.strip():
        yield last
