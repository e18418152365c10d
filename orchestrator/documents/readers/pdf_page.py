"""One page of a PDF as a draft: its text in reading order, its tables, and whether its text layer is worth anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pypdfium2.raw as pdfium

from orchestrator.documents.readers import (
    pdf_drawings,
    pdf_forms,
    pdf_glyphs,
    pdf_grids,
    pdf_layout,
    pdf_pieces,
    pdf_tables,
    pdf_turns,
)
from orchestrator.documents.readers.pdf_drawings import Drawings, Picture
from orchestrator.documents.readers.pdf_files import Files
from orchestrator.documents.readers.pdf_forms import Remark
from orchestrator.documents.readers.pdf_glyphs import Frame
from orchestrator.documents.readers.pdf_layout import Flow, Rows
from orchestrator.documents.readers.pdf_pieces import Lettering, Piece
from orchestrator.documents.readers.pdf_worth import Worth, worth_of
from orchestrator.documents.reading import Limits, Unreadable

_MOST_PICTURES: Final = 50
_MOST_ON_A_PAGE: Final = 500_000
"""Characters: more would not fit into the memory of the process."""


@dataclass(slots=True)
class Part:
    """A flow or rows of one page, with the way in which it is read."""

    content: Flow | Rows
    turns: int = 0


@dataclass(slots=True)
class Draft:
    """A page before it is known what the whole document looks like."""

    number: int
    frame: Frame | None = None
    parts: list[Part] = field(default_factory=list)
    tables: dict[int, Rows] = field(default_factory=dict)
    """Ruled tables, by the mark (`first`) of the piece that stands for each in a flow."""
    pieces: list[Piece] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    worth: Worth = field(default_factory=lambda: Worth(sound=False, why="it cannot be opened"))
    chars: int = 0


def draft_of(page: Any, number: int, form: Any, limits: Limits, files: Files, chars: int) -> Draft:
    """The draft of an open page, of a document that has had `chars` characters before it; the files pinned to it are taken."""
    frame = pdf_glyphs.frame_of(page)
    if frame is None:
        return Draft(number, worth=Worth(sound=False, why="it has no size"))
    drawings = pdf_drawings.drawings_of(page, frame)
    added = pdf_forms.added_to(page, form, frame, files.take)
    glyphs = _glyphs(page, frame, limits, chars, number)
    worth = worth_of(glyphs, drawings, frame)
    pieces, lettering = pdf_pieces.pieces_of(glyphs, frame) if glyphs and not worth.garbled else ([], None)
    pieces += added.values
    draft = Draft(number, frame, remarks=added.remarks, worth=worth, pieces=pieces)
    draft.pictures = drawings.pictures[:_MOST_PICTURES]
    draft.chars = sum(len(piece.text) for piece in pieces)
    directions = _by_direction(pieces)
    taken: set[int] = set()
    for index, (turns, group) in enumerate(directions):
        left = [piece for piece in group if id(piece) not in taken]
        if turns == pdf_glyphs.SLANTED:  # each stands for itself, such as a watermark
            draft.parts += [Part(Flow([[piece]])) for piece in left]
        else:
            others = directions[1:] if index == turns == 0 else []
            sideways = [piece for way, pieces in others if way != pdf_glyphs.SLANTED for piece in pieces]
            taken |= _arrange(draft, left, sideways, lettering, drawings.turned(turns, frame))
    return draft


def _glyphs(page: Any, frame: Frame, limits: Limits, chars: int, number: int) -> pdf_glyphs.Glyphs | None:
    text_page = pdfium.FPDFText_LoadPage(page)
    if not text_page:
        return None
    try:
        count = pdfium.FPDFText_CountChars(text_page)
        if chars + count > limits.max_chars:
            message = f"Up to page {number} the PDF has {chars + count:,} characters, at most {limits.max_chars:,} are read. Split it."
            raise Unreadable("text_too_long", message)
        if count > _MOST_ON_A_PAGE:
            message = f"Page {number} of the PDF has {count:,} characters, at most {_MOST_ON_A_PAGE:,} are read of one. Split it."
            raise Unreadable("text_too_long", message)
        return pdf_glyphs.glyphs_of(text_page, count, frame) if count > 0 else None
    finally:
        pdfium.FPDFText_ClosePage(text_page)


def _by_direction(pieces: Sequence[Piece]) -> list[tuple[int, list[Piece]]]:
    """Pieces by the way they are read, that with the most text first; one printed twice for its shadow counts once."""
    groups: dict[int, list[Piece]] = {}
    seen: set[tuple[str, int, int]] = set()
    for piece in pieces:
        place = (piece.text, round(piece.u0 / 2), round(piece.base / 2))
        only_leaders = len(piece.text) > 1 and not piece.text.strip(" .")
        if only_leaders or place in seen:
            continue
        seen.add(place)
        groups.setdefault(piece.turns, []).append(piece)
    return sorted(groups.items(), key=lambda one: -sum(len(piece.text) for piece in one[1]))


def _arrange(
    draft: Draft, group: list[Piece], sideways: list[Piece], lettering: Lettering | None, drawings: Drawings
) -> set[int]:
    """Put pieces that are read one way in their order, ruled tables first: each goes into the text as one piece.

    Tells which of those that are read in other ways stand in such a table, by their `id`: heads of narrow columns do.
    """
    turns = group[0].turns if group else 0
    originals: dict[int, Piece] = {}
    for piece in sideways:
        copy = _upright(piece, draft)
        originals[id(copy)] = piece
        group.append(copy)
    within: set[int] = set()
    for grid in pdf_grids.grids_of(drawings):
        if lettering and (found := pdf_tables.ruled_rows(grid, group, lettering)):
            rows, inside = found
            mark = -2 - len(draft.tables)
            draft.tables[mark] = rows
            within |= set(map(id, inside))
            group = [piece for piece in group if id(piece) not in within]
            left, top, right, bottom = grid.xs[0], grid.ys[0], grid.xs[-1], grid.ys[-1]
            group.append(Piece("", left, top, right, bottom, top, 1.0, turns, first=mark))
    rest = [piece for piece in group if id(piece) not in originals]
    draft.parts += [Part(content, turns) for content in pdf_layout.arranged(rest)]
    return {id(originals[copy]) for copy in within & originals.keys()}


def _upright(piece: Piece, draft: Draft) -> Piece:
    """A piece that is read in another way, where it is displayed."""
    frame = draft.frame
    box = (piece.u0, piece.v0, piece.u1, piece.v1)
    left, top, right, bottom = pdf_turns.displayed(*box, piece.turns, frame) if frame else box
    base = (top + bottom) / 2 + 0.3 * piece.size
    return Piece(piece.text, left, top, right, bottom, base, piece.size, bold=piece.bold, spaced=True)
