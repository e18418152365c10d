"""Whether the text layer of a page can be gone by, or the page must be looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.documents.readers.pdf_drawings import Drawings
from orchestrator.documents.readers.pdf_glyphs import Frame, Glyphs, Whole

_FEW: Final = 20
"""Letters on a page that is otherwise a picture: a stamp or a page number, and no text layer."""
_SPARSE: Final = 100
_DRAWN: Final = 300
"""So many shapes without text may be letters that were turned into shapes."""
_MOSTLY_PICTURE: Final = 0.5
_ALL_PICTURE: Final = 0.9
_GARBLED: Final = 0.3
_UNMAPPED: Final = 0.5
_LEAST_LETTERS: Final = 0.4
_HIDDEN: Final = 0.8


@dataclass(frozen=True, slots=True)
class Worth:
    """What a page's text layer is worth."""

    sound: bool
    why: str = ""
    """Where it is not: what is wrong with it."""
    garbled: bool = False
    """Whether what it says is no text at all, and had better be dropped."""
    scanned: bool = False
    """A sound text layer that a program has put under the picture of a page."""
    hidden: bool = False
    """Whether some of its text is drawn in no colour, though the page is no scan."""


def worth_of(glyphs: Glyphs | None, drawings: Drawings, frame: Frame) -> Worth:
    """What the text layer of a page is worth, by its signs and by what else is drawn there."""
    covered = drawings.covered(frame)
    solid = ~glyphs.spaces if glyphs else np.zeros(0, bool)
    count = int(solid.sum())
    if not glyphs or not count:
        blank = not drawings.pictures and not drawings.paths
        return Worth(sound=blank, why="" if blank else "it has no text layer")
    codes = glyphs.codes[solid]
    if _is_garbled(codes, glyphs.unmapped):
        why = "its text layer does not say which letters it shows"
        return Worth(sound=False, why=why, garbled=True)
    hidden = float(glyphs.hidden[glyphs.runs[solid]].mean())
    if covered > _MOSTLY_PICTURE and hidden > _HIDDEN:
        return Worth(sound=True, scanned=True)
    if count < (_SPARSE if covered > _ALL_PICTURE else _FEW if covered > _MOSTLY_PICTURE else 0):
        return Worth(sound=False, why="it is a picture with hardly any text of its own")
    if count < _FEW and drawings.paths > _DRAWN:
        return Worth(sound=False, why="its letters are drawn as shapes")
    return Worth(sound=True, hidden=hidden > 0)


def _is_garbled(codes: Whole, unmapped: float) -> bool:
    """Whether signs are no text: unknown ones, or such as nobody writes."""
    private = ((codes >= 0xE000) & (codes <= 0xF8FF)) | (codes >= 0xF0000)
    junk = private | (codes == 0xFFFD) | (codes < 32) | ((codes >= 0x7F) & (codes < 0xA0))
    if float(junk.mean()) > _GARBLED:
        return True
    if unmapped <= _UNMAPPED or len(codes) <= _FEW:
        return False
    asked = codes[:: max(1, len(codes) // 500)].tolist()
    return sum(chr(code).isalnum() for code in asked) < _LEAST_LETTERS * len(asked)
