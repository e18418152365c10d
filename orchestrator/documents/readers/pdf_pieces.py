"""Glyphs put together to pieces: what stands on one line without a wide gap, with its words apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from orchestrator.documents.readers import pdf_letters, pdf_turns
from orchestrator.documents.readers.pdf_glyphs import SLANTED, Flags, Frame, Glyphs, Numbers, Whole

_WORD_GAP: Final = 0.2
"""Of the font's size: what is farther apart is two words."""
_PIECE_GAP: Final = 0.8
_BASE_SHIFT: Final = 0.15


@dataclass(slots=True)
class Piece:
    """A run of text on one line, in the coordinates in which it is read: `u` along the line, `v` from line to line."""

    text: str
    u0: float
    v0: float
    u1: float
    v1: float
    base: float
    """The `v` of its baseline."""
    size: float
    turns: int = 0
    """Which way it is read: see `Glyphs.turns`."""
    bold: bool = False
    mono: bool = False
    spaced: bool = False
    """Whether the file has a space before it."""
    rtl: bool = False
    first: int = -1
    last: int = -1
    """Its glyphs in the `Lettering` that it came from; -1 where it came from elsewhere, such as a form."""


@dataclass(frozen=True, slots=True)
class Lettering:
    """The glyphs of a page that are no spaces, in the coordinates in which each is read."""

    codes: Whole
    spaced: Flags
    u0: Numbers
    u1: Numbers

    def cut(self, piece: Piece, places: list[float]) -> list[Piece]:
        """A piece cut at these places along its line, in the order of its glyphs."""
        inside = [place for place in places if piece.u0 < place < piece.u1]
        if not inside or piece.first < 0:
            return [piece]
        middles = (self.u0[piece.first : piece.last] + self.u1[piece.first : piece.last]) / 2
        cells = np.searchsorted(np.array(sorted(inside)), middles)
        edges = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(cells)]
        return [self._part(piece, piece.first + start, piece.first + end) for start, end in pairwise(edges)]

    def _part(self, piece: Piece, first: int, last: int) -> Piece:
        spaced = self.spaced[first:last].copy()
        spaced[0] = False
        text = _decoded(np.insert(self.codes[first:last], np.flatnonzero(spaced), 32))
        u0, u1 = float(self.u0[first:last].min()), float(self.u1[first:last].max())
        return Piece(
            text, u0, piece.v0, u1, piece.v1, piece.base, piece.size, piece.turns, piece.bold, piece.mono,
            bool(self.spaced[first]), piece.rtl, first, last,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Solid:
    """The glyphs that are no spaces, with what each has of its run."""

    at: Whole
    """Where they stand among all glyphs."""
    lettering: Lettering
    v0: Numbers
    v1: Numbers
    bases: Numbers
    sizes: Numbers
    turns: Whole
    rtl: Flags
    bold: Flags
    mono: Flags


def pieces_of(glyphs: Glyphs, frame: Frame) -> tuple[list[Piece], Lettering]:
    """The pieces of a page in the order of the file, and the glyphs from which they are made."""
    at = np.flatnonzero(~glyphs.spaces & _on_page(glyphs, frame))
    runs = glyphs.runs[at]
    turns = pdf_turns.turns_read(glyphs, at)[runs]
    u0, v0, u1, v1 = pdf_turns.along(glyphs.boxes[at], turns, frame)
    bases = pdf_turns.bases_along(glyphs.bases[runs], turns, frame)
    codes = glyphs.codes[at]
    rtl = pdf_letters.right_to_left(codes)
    if rtl.any():
        codes = pdf_letters.lam_alefs_turned(codes, u0, u1)
    lettering = Lettering(codes, np.zeros(len(at), bool), u0, u1)
    sizes = np.maximum(glyphs.sizes[runs], 0.1)
    solid = _Solid(at, lettering, v0, v1, bases, sizes, turns, rtl, glyphs.bold[runs], glyphs.mono[runs])
    return (_assembled(solid, _starts(glyphs, solid)) if len(at) else []), lettering


def _starts(glyphs: Glyphs, solid: _Solid) -> Flags:
    """Where a piece begins; notes in the lettering where a word does."""
    letters, turns, rtl = solid.lettering, solid.turns, solid.rtl
    u0, u1 = letters.u0, letters.u1
    gap = np.maximum(u0[1:] - u1[:-1], u0[:-1] - u1[1:])
    em = np.maximum(solid.sizes[1:], solid.sizes[:-1])
    either_rtl = rtl[1:] | rtl[:-1]
    back = np.where(either_rtl, u1[1:] > u1[:-1] + 0.3 * em, u0[1:] < u0[:-1] - 0.3 * em)
    apart = (gap > _PIECE_GAP * em) | (np.abs(solid.bases[1:] - solid.bases[:-1]) > _BASE_SHIFT * em) | back
    slanted = turns[1:] == SLANTED
    runs = glyphs.runs[solid.at]
    apart = np.where(slanted, runs[1:] != runs[:-1], apart) | (turns[1:] != turns[:-1])
    # PDFium tells words apart well, letters set wide included, but for where it ends a line or the direction changes.
    told = np.cumsum(glyphs.spaces & ~glyphs.breaks)[solid.at]
    ended = np.cumsum(glyphs.breaks)[solid.at]
    own = ((ended[1:] > ended[:-1]) | (rtl[1:] != rtl[:-1])) & (gap > _WORD_GAP * em) & ~slanted
    letters.spaced[1:] = ((told[1:] > told[:-1]) | own) & ~pdf_letters.accents(letters.codes[1:])
    return np.concatenate(([True], apart))


def _assembled(solid: _Solid, starts: Flags) -> list[Piece]:
    """The pieces that begin at these glyphs."""
    letters = solid.lettering
    edges = np.flatnonzero(starts)
    lengths = np.diff(np.append(edges, len(starts)))

    def most(flags: Flags) -> list[bool]:
        shares: list[bool] = (np.add.reduceat(flags.astype(np.int64), edges) * 2 > lengths).tolist()
        return shares

    columns = (
        _texts(letters.codes, letters.spaced, starts, edges),
        np.minimum.reduceat(letters.u0, edges).tolist(),
        np.minimum.reduceat(solid.v0, edges).tolist(),
        np.maximum.reduceat(letters.u1, edges).tolist(),
        np.maximum.reduceat(solid.v1, edges).tolist(),
        solid.bases[edges].tolist(),
        np.maximum.reduceat(solid.sizes, edges).tolist(),
        solid.turns[edges].tolist(),
        most(solid.bold),
        most(solid.mono),
        letters.spaced[edges].tolist(),
        most(solid.rtl),
        edges.tolist(),
        (edges + lengths).tolist(),
    )
    return [piece for values in zip(*columns, strict=True) if (piece := Piece(*values)).text.strip()]


def _texts(codes: Whole, spaced: Flags, starts: Flags, edges: Whole) -> list[str]:
    """The text of each piece, from one decoding of them all."""
    gaps = np.flatnonzero(spaced & ~starts)
    whole = np.insert(codes, gaps, 32)
    at = (edges + np.searchsorted(gaps, edges)).tolist()
    text = whole.astype("<u4").tobytes().decode("utf-32-le", "replace")
    pieces = [text[start:end] for start, end in zip(at, [*at[1:], len(text)], strict=True)]
    return [pdf_letters.plain(piece) for piece in pieces] if pdf_letters.any_odd(codes) else pieces


def _decoded(codes: Whole) -> str:
    return pdf_letters.plain(codes.astype("<u4").tobytes().decode("utf-32-le", "replace"))


def _on_page(glyphs: Glyphs, frame: Frame) -> Flags:
    """Which glyphs can be seen: not those beyond the edges of the page."""
    box = glyphs.boxes
    return (box[:, 2] > 0) & (box[:, 0] < frame.width) & (box[:, 3] > 0) & (box[:, 1] < frame.height)
