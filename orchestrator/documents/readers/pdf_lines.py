"""Lines of text: pieces joined with the right spaces, lines joined with words made whole where a hyphen parts them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.documents.readers.pdf_layout import lines_of
from orchestrator.documents.readers.pdf_pieces import Piece

_WORD_GAP: Final = 0.2
_CELL_GAP: Final = 1.5
"""Of the font's size: what stands farther apart on a line is kept apart."""
_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LEADERS: Final = re.compile(r"\s*(?:\. ?){5,}\s*|(?:\s\.){2,}(?:\s+|$)")
"""The dots in a table of contents between a title and its page."""
_HYPHENS: Final = ("-", "\u00ad", "\u2010")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text with its place in the coordinates in which it is read."""

    text: str
    u0: float
    v0: float
    u1: float
    v1: float
    base: float
    size: float
    bold: bool
    mono: bool
    rtl: bool
    apart: bool
    """Whether there is a gap in it as wide as that between cells."""


def line_of(pieces: Sequence[Piece]) -> Line:
    """Pieces in reading order as one line."""
    letters = sum(len(piece.text) for piece in pieces)
    rtl = sum(len(piece.text) for piece in pieces if piece.rtl) * 2 > letters
    # What was filled in tells no size, nor does a bullet.
    largest = max(pieces, key=lambda one: (one.first >= 0, len(one.text) > 2, one.size))
    text, last = "", None
    apart = any(piece.first < 0 for piece in pieces)  # a filled field, with its label
    for piece in pieces:
        if last is not None:
            gap = last.u0 - piece.u1 if rtl else piece.u0 - last.u1
            em = max(last.size, piece.size)
            if gap > _CELL_GAP * em:
                apart = True
                step = (last.u1 - last.u0) / max(len(last.text), 1) if last.mono and piece.mono else 0.0
                text += " " * min(max(round(gap / step), 2), 80) if step > 0 else "  "
            elif (piece.spaced and gap > -em) or gap > _WORD_GAP * em:
                text += " "
        text += piece.text
        last = piece
    if leaders := _LEADERS.search(text):
        apart, text = True, _LEADERS.sub(" ... ", text) if leaders.end() < len(text) else text
    return Line(
        text.strip(),
        min(piece.u0 for piece in pieces),
        min(piece.v0 for piece in pieces),
        max(piece.u1 for piece in pieces),
        max(piece.v1 for piece in pieces),
        largest.base,
        largest.size,
        sum(len(piece.text) for piece in pieces if piece.bold) * 2 > letters,
        sum(len(piece.text) for piece in pieces if piece.mono) * 2 > letters,
        rtl,
        apart,
    )


class Words:
    """The words of a document, to tell whether a hyphen at the end of a line belongs to the word."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._texts = [piece.text for piece in pieces]
        self._known: frozenset[str] | None = None

    def joined(self, before: str, after: str) -> str:
        """Two lines as one text."""
        if not before or not after:
            return before or after
        if _is_wide(before[-1]) and _is_wide(after[0]):
            return before + after
        if before[-1] not in _HYPHENS or len(before) < 2 or not before[-2].isalnum() or not after[0].isalnum():
            return f"{before} {after}"
        soft = before[-1] == "\u00ad"
        keeps = not after[0].islower() or not before[-2].isalpha() or self._keeps_hyphen(before[:-1], after)
        return before + after if keeps and not soft else before[:-1] + after

    def _keeps_hyphen(self, before: str, after: str) -> bool:
        """Whether the document writes a word with its hyphen elsewhere, or each part of one that has more of them."""
        *parts, first = _last_word(before).split("-")
        second = _first_word(after)
        if self._has(first + second):
            return False
        return self._has(f"{first}-{second}") or (bool(parts) and self._has(first) and self._has(second))

    def _has(self, word: str) -> bool:
        if self._known is None:
            self._known = frozenset(word.lower() for text in self._texts for word in _WORD.findall(text))
        return word.lower() in self._known

    def cell(self, pieces: list[Piece]) -> str:
        """What stands in a cell, as one line."""
        text = ""
        for line in lines_of(pieces):
            text = self.joined(text, line_of(line).text)
        return " ".join(text.replace("\u00ad", "").split())


def _is_wide(sign: str) -> bool:
    """Whether a sign is of a script that sets no spaces between words, such as Chinese."""
    return (
        "\u2e80" <= sign <= "\u9fff"
        or "\uf900" <= sign <= "\ufaff"
        or "\uff00" <= sign <= "\uffef"
        or sign >= "\U00020000"
    )


def _last_word(text: str) -> str:
    return text.rsplit(None, 1)[-1] if text.strip() else ""


def _first_word(text: str) -> str:
    found = _WORD.match(text)
    return found.group() if found else ""
