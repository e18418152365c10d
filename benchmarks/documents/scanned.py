"""Pages that look like scans: text as a picture, the poorer the more it is turned, blurred and dirty."""

from __future__ import annotations

import io
import random
import textwrap
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE: Final = (1240, 1754)
"""A4 at 150 dots an inch."""
LETTER_PX: Final = 24
PAPER: Final = 245


def page(lines: Sequence[str], *, poor: float, draw: random.Random) -> Image.Image:
    """A page with lines of text; `poor` from 0, as it was printed, to 1, where a reader has trouble."""
    picture = Image.new("L", SIZE, PAPER)
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTER_PX)
    top = 120
    for line in lines:
        for part in textwrap.wrap(line, 70):
            canvas.text((110, top), part, fill=round(30 + 120 * poor), font=font)
            top += 40
    turned = picture.rotate(draw.uniform(-4, 4) * poor, resample=Image.Resampling.BICUBIC, fillcolor=PAPER)
    blurred = turned.filter(ImageFilter.GaussianBlur(2.2 * poor))
    return Image.blend(blurred, _dirt(draw), 0.35 * poor)


def pdf(pages: Sequence[Image.Image]) -> bytes:
    """A scanned document: a PDF of pictures, without any text."""
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    return buffer.getvalue()


def _dirt(draw: random.Random) -> Image.Image:
    """Noise of dark and light dots, two pixels wide."""
    small = Image.frombytes("L", (SIZE[0] // 2, SIZE[1] // 2), draw.randbytes(SIZE[0] // 2 * (SIZE[1] // 2)))
    return small.resize(SIZE)
