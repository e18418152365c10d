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


class Lines:
    """Takes pieces of bytes that end anywhere, and gives back the lines that are whole, without their ends.

    With `most_bytes` nothing is kept of a longer line, which is None then.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes | None]:
        """The lines that a piece ended, blank ones as well."""
        ended: list[bytes | None] = []
        first, *others = piece.split(b"\n")
        self._add(first)
        for part in others:
            ended.append(self._taken())
            self._add(part)
        return ended

    def end(self) -> list[bytes | None]:
        """What is left at the end, where that is anything."""
        return [self._taken()] if self._size else []

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._most_bytes is not None and self._size > self._most_bytes:
            self._rest = []
        elif part:
            self._rest.append(part)

    def _taken(self) -> bytes | None:
        too_long = self._most_bytes is not None and self._size > self._most_bytes
        line = None if too_long else b"".join(self._rest)
        self._rest, self._size = [], 0
        return line


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of bytes that end anywhere; blank ones are left out."""
    lines = Lines()
    for piece in pieces:
        yield from written(lines.feed(piece))
    yield from written(lines.end())


def written(lines: Iterable[bytes | None]) -> list[bytes]:
    """Those that are not blank."""
    return [line for line in lines if line and line.strip()]
