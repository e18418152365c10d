"""Reads a picture: each page of a TIFF, and the first frame of what moves, is a scan."""

from __future__ import annotations

import io
import struct
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from orchestrator.documents.readers import scan
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

KINDS: Final = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp", "GIF": "gif", "TIFF": "tiff"}
"""What Pillow may take a file for, and its kind; none of its other decoders is ever asked."""
NAMED: Final = 20
"""Pages that a note names at most."""
BROKEN: Final = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, struct.error)  # fmt: skip
"""What its decoders raise for files that are broken, or made to break them."""


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The text of a picture, a page each; raises Unreadable for what is none, is broken, or is too large to decode."""
    del within  # nothing lies in a picture
    begun = time.monotonic()
    pages: list[Page] = []
    late: list[str] = []
    with warnings.catch_warnings():
        # Pillow warns of odd headers; what matters of them is checked here, or fails.
        warnings.simplefilter("ignore")
        picture = _opened(data)
        kind = KINDS[picture.format or ""]
        moves = kind != "tiff" and getattr(picture, "is_animated", False)
        for number, frame in enumerate(_frames(picture, limits), 1):
            spent = time.monotonic() - begun
            # The next page may take twice as long as those before: what was read shall not be lost over it.
            if pages and spent + 2 * spent / len(pages) > limits.timeout_s:
                late.append(str(number))
                pages.append(Page(number, source="none"))
            else:
                pages.append(scan.read_page(frame, limits, number=number))
    return Reading(kind, tuple(pages), notes=tuple(_notes(pages, late, moves=moves)))


def frames(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """The pages of a picture as they are meant to be seen: all of a TIFF, the first of what moves; raises Unreadable as `read` does."""
    return _frames(_opened(data), limits)


def _opened(data: bytes) -> Image.Image:
    """A picture of which only the header was looked at."""
    if not data:
        raise Unreadable("empty_file", "The picture is empty. Save it anew.")
    with _as_unreadable():
        return Image.open(io.BytesIO(data), formats=[name for name in KINDS if name != "MPO"])


def _notes(pages: Sequence[Page], late: Sequence[str], *, moves: bool) -> Iterator[str]:
    if moves:
        yield "The picture moves, or has further ones behind it: only the first was read."
    if late:
        yield f"There was no time left to read page {', '.join(late[:NAMED])}: raise the time limit."
    unread = [str(page.number) for page in pages if page.source == "none" and str(page.number) not in set(late)]
    if unread:
        which = "the picture" if len(pages) == 1 else f"page {', '.join(unread[:NAMED])}"
        yield f"No text was found in {which}: it must be looked at."


@contextmanager
def _as_unreadable() -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable("file_too_large", "The picture has far more pixels than can be read. Shrink it.") from None
    except BROKEN as error:
        truncated = "truncated" in str(error) or "Truncated" in str(error)
        fault = "ends early" if truncated else f"is broken, or none ({type(error).__name__})"
        raise Unreadable(
            "unreadable_file", f"The picture {fault}. Save it anew as PNG or JPEG, or fetch it again."
        ) from None


def _frames(picture: Image.Image, limits: Limits) -> Iterator[Image.Image]:
    """The pages, one decoded at a time: a TIFF's are not counted before, since a made-up count takes long to be found out."""
    paged = picture.format == "TIFF"
    for at in range(limits.max_pages if paged else 1):
        with _as_unreadable():
            if not _turned_to(picture, at):
                return
            frame = _frame(picture, limits)
        yield frame
    if paged and _turned_to(picture, limits.max_pages):
        raise Unreadable("too_many_pages", f"The TIFF has more than {limits.max_pages:,} pages. Split it.")


def _turned_to(picture: Image.Image, at: int) -> bool:
    """Whether there is such a page."""
    try:
        picture.seek(at)
    except EOFError:
        return False
    return True


def _frame(picture: Image.Image, limits: Limits) -> Image.Image:
    """One picture, decoded and as it is meant to be seen; its size is checked before."""
    width, height = picture.size
    if width * height > limits.max_pixels:
        size = f"{width:,} x {height:,} pixels, at most {limits.max_pixels:,} can be read"
        raise Unreadable("file_too_large", f"The picture has {size}. Shrink it.")
    if width < 1 or height < 1:
        raise Unreadable("unreadable_file", "The picture has no pixels. Save it anew.")
    picture.load()
    return _upright(_plain(picture))


def _plain(picture: Image.Image) -> Image.Image:
    """A picture in 256 shades of a mode that can be made gray: Pillow would cut off deeper ones rather than scale them."""
    if picture.mode in {"I", "F"} or picture.mode.startswith("I;"):
        shades = np.nan_to_num(np.asarray(picture, np.float32), posinf=0, neginf=0)
        low, high = float(shades.min()), float(shades.max())
        plain = Image.fromarray(((shades - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))
    elif picture.mode in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
        return picture
    else:
        plain = picture.getchannel(0) if picture.mode in {"LAB", "YCbCr"} else picture.convert("RGB")
    plain.info = dict(picture.info)
    return plain


def _upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its camera says, if that can be read."""
    try:
        return ImageOps.exif_transpose(picture)
    except BROKEN:
        return picture  # a turn that is told wrongly shall not cost the text: reading finds it as well
