"""Letters as they are meant: ligatures taken apart, presentation forms made plain, signs without meaning left out. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

import numpy as np

from orchestrator.documents.readers.pdf_glyphs import Flags, Numbers, Whole

_ALEFS, _LAM = (0x622, 0x623, 0x625, 0x627), 0x644


def any_odd(codes: Whole) -> bool:
    """Whether there are code points that `plain` may change."""
    odd = (
        (codes < 32) | (codes >= 0xE000) | ((codes >= 0x7F) & (codes < 0xA0)) | ((codes >= 0x200B) & (codes <= 0x2060))
    )
    return bool(odd.any())


def plain(text: str) -> str:
    """A text without control characters and marks of width nought, its ligatures and presentation forms as letters."""
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for one in text:
        code = ord(one)
        if 0xFB00 <= code <= 0xFB4F or 0xFB50 <= code <= 0xFDFF or 0xFE70 <= code <= 0xFEFC:
            kept.append(unicodedata.normalize("NFKC", one))
        elif code in _BULLETS:
            kept.append(_BULLETS[code])
        elif code >= 32 and not 0x7F <= code < 0xA0 and not 0xE000 <= code <= 0xF8FF and code not in _NOTHING:
            kept.append(one)
    return "".join(kept)


_BULLETS: Final = {0xF0B7: "•", 0xF0A7: "•", 0xF0D8: "•", 0xF06C: "•", 0xF0FC: "•", 0xF076: "•", 0xF02D: "-"}
"""Where the fonts that are made of signs, Symbol and Wingdings, put their bullets in the range for private use."""
_NOTHING: Final = frozenset((0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF))


def right_to_left(codes: Whole) -> Flags:
    """Letters of scripts that are written from right to left."""
    return (
        ((codes >= 0x590) & (codes < 0x900))
        | ((codes >= 0xFB1D) & (codes < 0xFE00))
        | ((codes >= 0xFE70) & (codes < 0xFEFF))
    )


def accents(codes: Whole) -> Flags:
    """Marks that stand on the letter before them."""
    return ((codes >= 0x300) & (codes < 0x370)) | ((codes >= 0x64B) & (codes < 0x660))


def lam_alefs_turned(codes: Whole, u0: Numbers, u1: Numbers) -> Whole:
    """Lam and alef of one sign in the order in which they are read: PDFium turns the letters of a sign with those of the line."""
    same = (np.abs(u0[1:] - u0[:-1]) < 0.01) & (np.abs(u1[1:] - u1[:-1]) < 0.01)
    found = np.flatnonzero(same & np.isin(codes[:-1], _ALEFS) & (codes[1:] == _LAM))
    turned = codes.copy()
    turned[found], turned[found + 1] = codes[found + 1], codes[found]
    return turned
