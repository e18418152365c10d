"""Lines of a JSONL stream, each bounded, so that a line of a gigabyte costs no more memory than the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

PIECE: Final = 1 << 16
BLANK: Final = b"\r\n \t"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank. `content` is None where it was longer than the limit."""

    number: int
    content: bytes | None


def bounded_lines(file: BinaryIO, most_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file with their numbers from 1, skipping blank ones; over-long ones lose their content."""
    number = 0
    while True:
        raw = file.readline(most_bytes + 2)
        if not raw:
            return
        number += 1
        ended = raw.endswith(b"\n")
        content: bytes | None = raw.strip(BLANK)
        if not ended and len(raw) > most_bytes:
            _skip_to_newline(file)
            content = None
        if number == 1 and content is not None and content.startswith(b"\xef\xbb\xbf"):
            content = content[3:]
        if content == b"":
            number += _skip_blank(file)
            continue
        yield Line(number, content)


def _skip_blank(file: BinaryIO) -> int:
    """Skip the blank lines that lie in the buffer, all at once: a file may hold nothing else. Returns how many."""
    peek = getattr(file, "peek", None)
    ahead = peek(PIECE) if peek else b""
    blank = ahead[: len(ahead) - len(ahead.lstrip(BLANK))]
    end = blank.rfind(b"\n") + 1
    file.read(end)
    return int(blank.count(b"\n", 0, end))


def _skip_to_newline(file: BinaryIO) -> None:
    while True:
        piece = file.readline(PIECE)
        if not piece or piece.endswith(b"\n"):
            return
