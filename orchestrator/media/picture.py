"""The kind and size of a picture by its header, and about how many tokens a model will read for it."""

from __future__ import annotations

import math
from typing import Final, Literal

from orchestrator.media.encoded import Encoded, Read

Kind = Literal["png", "jpeg", "webp", "gif"]

MAX_IMAGE_PIXELS: Final = 2_000_000
"""What a model gets of a picture where the fleet says nothing else; larger ones are made smaller."""
PIXELS_A_TOKEN_SIDE: Final = 28
UNREAD_TOKENS: Final = 800
"""Of a picture whose header cannot be read: it is refused later, and nothing is charged for it."""
MAX_SEGMENTS: Final = 1_000
"""Of a JPEG before its size, so that a header made of nothing but segments ends."""

_MAGIC: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_NO_FRAME: Final = frozenset({0xC4, 0xC8, 0xCC})
"""Markers between 0xC0 and 0xCF that begin no frame."""


def kind_of(head: bytes) -> Kind | None:
    """What a picture is by its first 12 bytes, or None for what is no PNG, JPEG, WebP or GIF."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def size_of(read: Read, kind: Kind) -> tuple[int, int] | None:
    """Width and height in pixels as the header tells them, or None where it does not."""
    if kind == "jpeg":
        return _jpeg_size(read)
    head = read(0, 30)
    if kind == "png":
        fits = len(head) >= 24 and head[12:16] == b"IHDR"
        return (_big(head[16:20]), _big(head[20:24])) if fits else None
    if kind == "gif":
        return (_little(head[6:8]), _little(head[8:10])) if len(head) >= 10 else None
    return _webp_size(head)


def tokens_of(encoded: Encoded, max_pixels: int = MAX_IMAGE_PIXELS) -> int:
    """About how many tokens a picture takes.

    One token for 28 x 28 pixels (patches of 14 x 14, merged two by two) and two that mark its ends, after Wang et al.,
    "Qwen2-VL" (2024, arXiv 2409.12191), section 2.1: 66 tokens for 224 x 224. Other families differ by a small factor.
    """
    kind = kind_of(encoded.read(0, 12))
    size = size_of(encoded.read, kind) if kind else None
    if size is None or not all(size):
        return UNREAD_TOKENS
    width, height = fitted(*size, max_pixels)
    return max(1, round(width / PIXELS_A_TOKEN_SIDE)) * max(1, round(height / PIXELS_A_TOKEN_SIDE)) + 2


def fitted(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The size of a picture that is made smaller, where it has to be, to at most so many pixels."""
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _jpeg_size(read: Read) -> tuple[int, int] | None:
    place = 2
    for _ in range(MAX_SEGMENTS):
        head = read(place, 9)
        if len(head) < 9 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return _big(head[7:9]), _big(head[5:7])
        else:
            place += 2 + (0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else _big(head[2:4]))
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    form = head[12:16]
    if form == b"VP8X":
        return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    if form == b"VP8L":
        bits = _little(head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
