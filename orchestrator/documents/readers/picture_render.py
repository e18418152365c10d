"""Pictures as models look at them: each page as a JPEG, upright, on white and no larger than it must be."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Final

from PIL import Image

from orchestrator.documents.readers import picture
from orchestrator.documents.readers.shown import pixels_of
from orchestrator.documents.reading import Limits, Unreadable
from orchestrator.media.picture import fitted

_QUALITY: Final = 85


def render(data: bytes, pages: Sequence[int], limits: Limits) -> list[bytes]:
    """These pages of a picture, counted from 1; raises Unreadable for one that is not there, is broken, or too large to decode."""
    wanted, found = set(pages), dict[int, bytes]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd headers: what matters of them is checked, or fails
        for number, frame in enumerate(picture.frames(data, limits), 1):
            if number in wanted:
                found[number] = _jpeg(frame, limits.render_px)
            if len(found) == len(wanted):
                break
    if missing := wanted - found.keys():
        raise Unreadable("unreadable_file", f"The picture has no page {min(missing)}. Ask for one that it has.")
    return [found[number] for number in pages]


def _jpeg(frame: Image.Image, long_side_px: int) -> bytes:
    shown = frame.convert("RGB")
    width, height = fitted(*shown.size, pixels_of(long_side_px))
    shown.thumbnail((min(width, long_side_px), min(height, long_side_px)))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
