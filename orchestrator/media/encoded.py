"""Looking into base64 without decoding all of it."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[int, int], bytes]
"""Bytes from a place on, at most so many: fewer where the data ends."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Base64 in a text, from `start` on; `read` decodes only the part that is asked for."""

    text: str
    start: int = 0

    @property
    def size(self) -> int:
        """How many bytes it holds, to within the padding."""
        return (len(self.text) - self.start) * 3 // 4

    def read(self, place: int, count: int) -> bytes:
        """Bytes from a place on; none where the text is no base64 there."""
        first = place // 3
        last = -(-(place + count) // 3)
        try:
            piece = binascii.a2b_base64(self.text[self.start + 4 * first : self.start + 4 * last])
        except ValueError:
            return b""
        skipped = place - 3 * first
        return piece[skipped : skipped + count]


def reader(data: bytes) -> Read:
    """The same over bytes that are decoded already."""
    return lambda place, count: data[place : place + count]
