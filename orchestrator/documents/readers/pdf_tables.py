"""Tables of a PDF page: what stands in the cells of a ruled grid, and rows of cells as Markdown. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from orchestrator.documents.readers.pdf_grids import Grid
from orchestrator.documents.readers.pdf_layout import Rows, lines_of
from orchestrator.documents.readers.pdf_pieces import Lettering, Piece

_LEAST_FILLED: Final = 0.3
_LEAST_OF_ALL: Final = 0.25
"""Of a ruled table's cells, empty rows and columns counted as well."""
_LONGEST_CELL: Final = 500
"""Characters that a table's cells have on average at most: more, and the lines frame parts of a page."""
_APART: Final = "  "
_SHORT: Final = 14

CellText = Callable[[list[Piece]], str]


def ruled_rows(grid: Grid, pieces: Sequence[Piece], lettering: Lettering) -> tuple[Rows, list[Piece]] | None:
    """The rows of a ruled table, and the pieces that went into it; None where its cells are not those of a table."""
    inside = [piece for piece in pieces if _within(grid, piece)]
    cells: list[list[list[Piece]]] = [[[] for _ in grid.xs[1:]] for _ in grid.ys[1:]]
    torn = 0
    for piece in inside:
        v = piece.base - 0.3 * piece.size
        walls = sorted(place for place, start, end in grid.down if start - 1 <= v <= end + 1)
        row = min(max(bisect_right(grid.ys, v) - 1, 0), len(cells) - 1)
        parts = lettering.cut(piece, walls)
        torn += any(not part.spaced for part in parts[1:])
        for part in parts:
            cells[row][_column(grid, walls, part)].append(part)
    filled = sum(bool(cell) for row in cells for cell in row)
    # Lines through words, or a few words in many boxes: a drawing.
    if torn * 5 > len(inside) or filled < _LEAST_OF_ALL * len(cells) * len(cells[0]):
        return None
    rows = [one for row in _trimmed(cells) for one in _split(row)]
    return (Rows(rows), inside) if rows and _is_sound(rows, least=_LEAST_FILLED) else None


def _column(grid: Grid, walls: list[float], part: Piece) -> int:
    """Where a text stands: in a cell that spans several columns, the one that holds all of it, else the first."""
    last = len(grid.xs) - 2
    middle = (part.u0 + part.u1) / 2
    column = min(max(bisect_right(grid.xs, middle) - 1, 0), last)
    if part.u0 >= grid.xs[column] - 1 and part.u1 <= grid.xs[column + 1] + 1:
        return column
    wall = walls[max(bisect_right(walls, middle) - 1, 0)] if walls else part.u0
    return min(max(bisect_right(grid.xs, wall + 3.5) - 1, 0), last)


def _split(row: list[list[Piece]]) -> list[list[list[Piece]]]:
    """A ruled row cut into the rows that stand in it without lines between them: of as many short lines in several cells."""
    lines = [lines_of(cell) for cell in row]
    count = max(map(len, lines))
    full = [
        cell
        for cell in lines
        if len(cell) == count and all(sum(len(one.text) for one in line) <= _SHORT for line in cell)
    ]
    if count < 2 or len(full) < 3:
        return [row]
    bases = [line[0].base for line in full[0]]
    rows: list[list[list[Piece]]] = [[[] for _ in row] for _ in bases]
    for column, cell in enumerate(row):
        for piece in cell:
            nearest = min(range(count), key=lambda index: abs(bases[index] - piece.base))
            rows[nearest][column].append(piece)
    return rows


def _within(grid: Grid, piece: Piece) -> bool:
    u, v = (piece.u0 + piece.u1) / 2, piece.base - 0.3 * piece.size
    return bool(piece.text) and grid.xs[0] <= u <= grid.xs[-1] and grid.ys[0] <= v <= grid.ys[-1]


def _trimmed(rows: list[list[list[Piece]]]) -> list[list[list[Piece]]]:
    """Rows without those rows and columns in which nothing stands."""
    rows = [row for row in rows if any(row)]
    filled = [index for index in range(len(rows[0]) if rows else 0) if any(row[index] for row in rows)]
    return [[row[index] for index in filled] for row in rows]


def _is_sound(rows: list[list[list[Piece]]], *, least: float) -> bool:
    """Whether rows and columns are worth being shown as a table: there are some, most are filled, and no cell is a page of its own."""
    columns = max(map(len, rows))
    filled = [cell for row in rows for cell in row if cell]
    letters = sum(len(piece.text) for cell in filled for piece in cell)
    return (
        len(rows) > 1
        and columns > 1
        and len(filled) >= least * len(rows) * columns
        and letters <= _LONGEST_CELL * len(filled)
    )


def markdown_of(rows: list[list[list[Piece]]], text_of: CellText) -> tuple[str, bool]:
    """Rows as a Markdown table, and whether they are one; else as lines that keep their cells apart."""
    rows = _trimmed(rows)
    if not rows or not _is_sound(rows, least=_LEAST_FILLED):
        apart = [_APART.join(text for cell in row if cell and (text := text_of(cell))) for row in rows]
        return "\n".join(apart), False
    texts = [[text_of(cell).replace("|", "\\|") if cell else "" for cell in row] for row in rows]
    head, *body = texts
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines), True
