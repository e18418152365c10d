"""Drafts as pages of blocks, once it is known what the whole document looks like. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.documents.readers import pdf_blocks, pdf_repeats, pdf_turns
from orchestrator.documents.readers.pdf_blocks import Edges, Style
from orchestrator.documents.readers.pdf_layout import Rows
from orchestrator.documents.readers.pdf_lines import Line, Words, line_of
from orchestrator.documents.readers.pdf_page import Draft, Part
from orchestrator.documents.readers.pdf_tables import markdown_of
from orchestrator.documents.reading import Block, Box, Page


def pages_of(drafts: Sequence[Draft], style: Style) -> list[Page]:
    """The pages of a document, once its style is known."""
    words = Words(piece for draft in drafts for piece in draft.pieces)
    blocks = [
        [block for part in draft.parts for block in _blocks(draft, part, style, words)] + _remarks(draft)
        for draft in drafts
    ]
    return [
        Page(draft.number, told, "text" if draft.worth.sound else "none")
        for draft, told in zip(drafts, pdf_repeats.noted(blocks), strict=True)
    ]


def _blocks(draft: Draft, part: Part, style: Style, words: Words) -> list[Block]:
    """The blocks of a flow or of rows, with the ruled tables that stand in a flow in their places."""
    if isinstance(part.content, Rows):
        return [_table(draft, part.content, part.turns, words)]
    blocks: list[Block] = []
    lines: list[Line] = []
    for pieces in part.content.lines:
        if pieces[0].text:
            lines.append(line_of(pieces))
            continue
        blocks += _of_lines(draft, lines, part.turns, style, words)
        lines = []
        blocks.append(_table(draft, draft.tables[pieces[0].first], part.turns, words))
    return blocks + _of_lines(draft, lines, part.turns, style, words)


def _of_lines(draft: Draft, lines: list[Line], turns: int, style: Style, words: Words) -> list[Block]:
    return [
        Block(found.text, found.kind, found.level, _box(draft, found.edges, turns))
        for found in pdf_blocks.blocks_of(lines, style, words)
        if found.text
    ]


def _table(draft: Draft, rows: Rows, turns: int, words: Words) -> Block:
    pieces = [piece for row in rows.rows for cell in row for piece in cell]
    edges = (
        min(piece.u0 for piece in pieces),
        min(piece.v0 for piece in pieces),
        max(piece.u1 for piece in pieces),
        max(piece.v1 for piece in pieces),
    )
    text, sound = markdown_of(rows.rows, words.cell)
    return Block(text, "table" if sound else "paragraph", 0, _box(draft, edges, turns))


def _box(draft: Draft, edges: Edges, turns: int) -> Box | None:
    return draft.frame.share(*pdf_turns.displayed(*edges, turns, draft.frame)) if draft.frame else None


def _remarks(draft: Draft) -> list[Block]:
    """What readers have noted on a page."""
    return [
        Block(
            remark.text if remark.shown else f"Comment: {remark.text}",
            "paragraph" if remark.shown else "note",
            0,
            draft.frame.share(*remark.box),
        )
        for remark in draft.remarks
        if draft.frame
    ]


def first_heading(pages: Sequence[Page], style: Style) -> str:
    """The largest heading of the first page, where its type is larger than that of the text."""
    first = pages[0].blocks if pages and style.headings else ()
    return next((block.text.lstrip("# ")[:300] for block in first if block.kind == "heading" and block.level == 1), "")
