"""What stands in one place of a document (a page, a cell) in its order, before it is written as Markdown. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from orchestrator.documents.readers.writing import Writer, clean, item_line, one_line
from orchestrator.documents.reading import Box, Unreadable

MOST_CELLS: Final = 2_000_000
MOST_SPAN: Final = 1_000

_FILE_NAME: Final = re.compile(r"[^\n]{0,100}\.(?:png|jpe?g|gif|bmp|tiff?|webp|svg|emf|wmf)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph, heading, item of a list and so on."""

    kind: Literal["paragraph", "heading", "item", "code", "note", "table"]
    text: str = ""
    level: int = 0
    """Of a heading from 1, of an item its depth from 0."""
    marker: str = ""
    """Of an item: `-` or `3.`; empty where it goes on with the item above."""
    rows: Sequence[Sequence[str]] = ()
    box: Box | None = None


@dataclass(slots=True)
class Cell:
    """A cell of a table, with how many columns and rows it spans."""

    flow: Flow
    columns: int = 1
    rows: int = 1
    """0: to the end of the table."""


@dataclass(slots=True)
class Flow:
    """Pieces in reading order."""

    pieces: list[Piece] = field(default_factory=list)

    def paragraph(self, text: str, box: Box | None = None) -> None:
        """Add a paragraph, if there is anything in it."""
        if text.strip():
            self.pieces.append(Piece("paragraph", text, box=box))

    def heading(self, text: str, level: int, box: Box | None = None) -> None:
        """Add a heading, if there is anything in it."""
        if text.strip():
            self.pieces.append(Piece("heading", text, level, box=box))

    def item(self, text: str, depth: int = 0, marker: str = "-", box: Box | None = None) -> None:
        """Add an item of a list, if there is anything in it; items that follow each other are one list."""
        if text.strip():
            self.pieces.append(Piece("item", text, depth, marker, box=box))

    def code(self, text: str) -> None:
        """Add text that keeps its spaces."""
        if text.strip():
            self.pieces.append(Piece("code", text))

    def note(self, text: str, box: Box | None = None) -> None:
        """Add what stands beside the text."""
        if text.strip():
            self.pieces.append(Piece("note", text, box=box))

    def picture(self, words: str, box: Box | None = None) -> None:
        """Add the words that stand for a picture; one without words, or with the name of its file for them, says nothing."""
        if words.strip() and not _FILE_NAME.fullmatch(words.strip()):
            self.note(f"[Picture: {one_line(words)}]", box)

    def table(self, rows: list[list[Cell]], *, layout: bool = False, box: Box | None = None) -> None:
        """Add a table; one that only arranges its content on the page is added as that content.

        That is one with a single column, or with a table or a headed text in a cell: as rows of Markdown it could not be read.
        """
        if layout or max((len(row) for row in rows), default=0) <= 1 or any(_is_page(c) for row in rows for c in row):
            for row in rows:
                for cell in row:
                    self.pieces.extend(cell.flow.pieces)
            return
        grid = laid_out(rows)
        if any(text for row in grid for text in row):
            self.pieces.append(Piece("table", rows=grid, box=box))

    def flat(self) -> str:
        """All of it on one line, for a cell."""
        return one_line(" ".join(_flat(piece) for piece in self.pieces))

    def write(self, writer: Writer) -> None:
        """Write it as blocks."""
        items: list[Piece] = []
        for piece in self.pieces:
            if piece.kind == "item":
                items.append(piece)
                continue
            _write_list(items, writer)
            items = []
            match piece.kind:
                case "heading":
                    writer.heading(piece.text, piece.level, piece.box)
                case "table":
                    writer.table(piece.rows, piece.box)
                case "code":
                    writer.code(piece.text)
                case "note":
                    writer.note(piece.text, piece.box)
                case _:
                    writer.paragraph(piece.text, piece.box)
        _write_list(items, writer)


def _write_list(items: list[Piece], writer: Writer) -> None:
    """The items as one block; the shallowest of them stand at the margin. What goes on with no item above it is a paragraph."""
    while items and not items[0].marker:
        writer.paragraph(items.pop(0).text)
    if items:
        least = min(item.level for item in items)
        lines = (item_line(clean(item.text).strip(), item.level - least, item.marker) for item in items)
        boxes = {item.box for item in items}
        writer.add("\n".join(lines), "list", box=boxes.pop() if len(boxes) == 1 else None)


def _flat(piece: Piece) -> str:
    if piece.kind == "table":
        return " ".join(" ".join(row) for row in piece.rows)
    return f"{piece.marker} {piece.text}" if piece.marker else piece.text


def _is_page(cell: Cell) -> bool:
    kinds = [piece.kind for piece in cell.flow.pieces]
    return "table" in kinds or (len(kinds) > 1 and "heading" in kinds)


def laid_out(rows: list[list[Cell]]) -> list[list[str]]:
    """The texts of a table row by row: what spans rows or columns stands in each of them, so that every row can be read alone.

    A row that is one wide cell is a caption and stands once. A row of nothing but starts of cells that go on below is left out: their
    text stands in the rows below.
    """
    grid: list[list[str]] = []
    open_cells: dict[int, tuple[int, str]] = {}
    count = 0
    for number, row in enumerate(rows):
        line: list[str] = []
        starts: dict[int, tuple[int, str]] = {}
        below = len(rows) - number - 1
        caption = len(row) == 1 and not open_cells
        for cell in row:
            text = cell.flow.flat()
            _take_open(line, open_cells)
            going_on = below if cell.rows == 0 else min(cell.rows - 1, below)
            for _ in range(1 if caption and not going_on else min(max(cell.columns, 1), MOST_SPAN)):
                if going_on > 0:
                    starts[len(line)] = (going_on, text)
                line.append(text)
        _take_open(line, open_cells)
        for place in sorted(place for place in open_cells if place >= len(line)):
            line += [""] * (place - len(line)) + [open_cells[place][1]]
        kept = {place: (left - 1, text) for place, (left, text) in open_cells.items() if left > 1}
        open_cells = kept | starts
        if starts and below and all(place in open_cells for place in range(len(line))):
            continue
        count += len(line)
        if count > MOST_CELLS:
            raise Unreadable(
                "text_too_long", f"A table has over {MOST_CELLS:,} cells, those it spans included. Split it."
            )
        grid.append(line)
    return grid


def _take_open(line: list[str], open_cells: dict[int, tuple[int, str]]) -> None:
    """Go on, in this row, with the cells from above that reach into the next columns."""
    while len(line) in open_cells:
        line.append(open_cells[len(line)][1])
