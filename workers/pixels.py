"""Decoding one picture with Pillow, and encoding it for an engine only where that is needed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final

from PIL import Image, ImageFile, ImageOps

from orchestrator.media.picture import Kind, fitted

JPEG_QUALITY: Final = 92
_UPRIGHT: Final = (None, 1)
_SIDEWAYS: Final = (5, 6, 7, 8)
_ORIENTATION: Final = 0x0112
_ENDS: Final = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9"}
"""What closes a clean file: behind it nothing else can hide."""


class Broken(Exception):
    """A picture that cannot be decoded to its end."""


def clean(
    data: bytes, kind: Kind, check: Callable[[int, int], None], max_pixels: int, least_side: int
) -> tuple[str, bytes]:
    """The kind and bytes of an upright RGB picture of one frame, within `max_pixels`: the given bytes if they are that.

    `check` sees the size as Pillow reads it, before anything is decoded. Raises Broken.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # whatever a library beside us has set: half a picture is none
    try:
        with Image.open(io.BytesIO(data), formats=[kind.upper()]) as opened:
            check(*opened.size)
            return _cleaned(data, kind, opened, max_pixels, least_side)
    except Image.DecompressionBombError as error:
        raise Broken(str(error)) from None
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, MemoryError, IndexError, OverflowError) as error:
        raise Broken(type(error).__name__) from error


def _cleaned(data: bytes, kind: Kind, opened: Any, max_pixels: int, least_side: int) -> tuple[str, bytes]:
    orientation = opened.getexif().get(_ORIENTATION)
    turned = orientation not in _UPRIGHT
    wanted = _wanted(opened.size, max_pixels, least_side)
    fits = wanted == opened.size
    plain = opened.mode == "RGB" and not turned and fits and getattr(opened, "n_frames", 1) == 1
    if plain and data.endswith(_ENDS.get(kind, b"\0nothing")):
        opened.load()
        return kind, data
    if kind == "jpeg" and not fits:
        opened.draft("RGB", wanted)  # decodes to a half, a quarter or an eighth at once
    upright = ImageOps.exif_transpose(opened) if turned else opened
    if orientation in _SIDEWAYS:
        wanted = (wanted[1], wanted[0])
    colours = _rgb(upright)
    if colours.size != wanted:
        colours = colours.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    if kind == "jpeg":
        colours.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return "jpeg", buffer.getvalue()
    colours.save(buffer, "PNG", compress_level=1)
    return "png", buffer.getvalue()


def _wanted(size: tuple[int, int], max_pixels: int, least_side: int) -> tuple[int, int]:
    width, height = size
    short = min(width, height)
    if short < least_side:
        scale = least_side / short
        width, height = max(least_side, round(width * scale)), max(least_side, round(height * scale))
    return fitted(width, height, max_pixels)


def _rgb(picture: Any) -> Any:
    """Eight bits a colour: what is transparent on white, what has more bits made less."""
    if picture.mode.startswith(("I", "F")):
        low, high = picture.getextrema()
        most = 65_535 if picture.mode.startswith("I") and 255 < high <= 65_535 else (high or 1)
        picture = picture.point(lambda value: value * (255 / most)).convert("L") if low >= 0 else picture.convert("L")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        ground = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(ground, seen).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")
