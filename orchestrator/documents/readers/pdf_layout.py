"""The reading order of a page: bands of lines cut into columns where a gutter runs through them, and tables kept whole. Pure.

A band is what stands side by side. Neighbouring bands that leave the same gutters free belong together: they are columns, read one after
the other, or the rows of a table. A heading or a picture's caption across a gutter ends the group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from orchestrator.documents.readers.pdf_pieces import Piece

_GUTTER: Final = 0.5
"""The least width of a gutter, in font sizes."""
_FAR: Final = 4.0
"""Bands farther apart than this, in font sizes, are no longer one group of columns."""
_HALF_A_LINE: Final = 0.35
_FEW_LINES: Final = 3
_DEEPEST: Final = 6
_MOST_PIECES: Final = 20_000
"""On one page: more are no lines of text, and are only put in order."""
_MOST_GUTTERS: Final = 60
"""In one band: more are a drawing's labels."""
_LONGEST_LINE: Final = 200
"""Pieces on one line."""
MARKER: Final = re.compile(r"(?:[•·▪■□◦‣●○◆►➢✓✔❖–—*-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\[\d{1,3}\])")
"""What a list's item begins with."""

Interval = tuple[float, float]


@dataclass(slots=True)
class Flow:
    """Lines of one column, each the pieces that stand on it, from top to bottom."""

    lines: list[list[Piece]]


@dataclass(slots=True)
class Rows:
    """Rows of cells that stand in columns; each cell the lines in it."""

    rows: list[list[list[Piece]]]


@dataclass(slots=True)
class _Band:
    pieces: list[Piece]
    v0: float
    v1: float
    filled: list[Interval] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    bands: list[_Band]
    gutters: dict[Interval, int]
    """The gutters that all its bands leave free, and by how many lines each is told."""
    free: list[Interval]

    @property
    def strong(self) -> list[Interval]:
        """Gutters that are no chance gap in a single line."""
        return sorted(gutter for gutter, support in self.gutters.items() if support > 1)

    @property
    def settled(self) -> bool:
        """Whether so many lines tell its gutters that a line with more gaps than those does not matter."""
        return min(self.gutters.values(), default=0) > 5


def arranged(pieces: Sequence[Piece], depth: int = 0) -> list[Flow | Rows]:
    """Pieces that are read in one direction, as flows and rows in the order in which they are read."""
    if not pieces:
        return []
    if len(pieces) > _MOST_PIECES:
        return [Flow([[piece] for piece in sorted(pieces, key=lambda one: (one.base, one.u0))])]
    if depth >= _DEEPEST:
        return [Flow(lines_of(pieces))]
    em = median(piece.size for piece in pieces)
    told: list[Flow | Rows] = []
    plain: list[Piece] = []
    for group in _groups(_bands(pieces), em):
        inside = [piece for band in group.bands for piece in band.pieces]
        gutters = group.strong
        columns = _columns(inside, gutters) if gutters else []
        is_table = len(columns) > 1 and _is_table(group, columns)
        # So few lines side by side are no columns: they are read across.
        if (
            len(columns) < 2
            or _is_list(columns[0])
            or _is_code(inside)
            or not (is_table or max(map(_height_in_lines, columns)) > 2)
        ):
            plain += inside
            continue
        if plain:
            told.append(Flow(lines_of(plain)))
            plain = []
        if is_table:
            rows = _rows(group, gutters, em)
            told.append(Rows([row[::-1] for row in rows] if _is_rtl(inside) else rows))
        else:
            for column in reversed(columns) if _is_rtl(inside) else columns:
                told += arranged(column, depth + 1)
    if plain:
        told.append(Flow(lines_of(plain)))
    return told


def lines_of(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces of one column as lines, from top to bottom; in each line as it is read."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda one: (one.base, one.u0)):
        for line in reversed(lines[-3:]):
            if _on_line(piece, line):
                line.append(piece)
                break
        else:
            lines.append([piece])
    for line in lines:
        rtl = _is_rtl(line)
        line.sort(key=lambda one: -one.u1 if rtl else one.u0)
    return lines


def _is_rtl(pieces: Sequence[Piece]) -> bool:
    """Whether most letters are read from right to left."""
    return sum(len(piece.text) if piece.rtl else -len(piece.text) for piece in pieces) > 0


def _on_line(piece: Piece, line: list[Piece]) -> bool:
    """Whether a piece stands on a line: on its baseline, or beside it as what is raised or lowered does."""
    if not piece.text or not line[0].text or len(line) > _LONGEST_LINE:
        return False
    first = max(line, key=lambda one: one.size)
    shift = abs(piece.base - first.base)
    large, small = max(piece.size, first.size), min(piece.size, first.size)
    if shift > (0.25 * small if small > 0.85 * large else 0.55 * large):
        return False
    # Two texts cannot stand in the same place: what overlaps is on another line.
    return all(
        min(piece.u1, one.u1) - max(piece.u0, one.u0) < 0.5 * min(piece.u1 - piece.u0, one.u1 - one.u0) for one in line
    )


def _bands(pieces: Sequence[Piece]) -> list[_Band]:
    """Pieces that stand side by side, from top to bottom."""
    bands: list[_Band] = []
    lowest = None
    for top, bottom, piece in sorted(((*_height(piece), piece) for piece in pieces), key=lambda one: one[:2]):
        if bands and _is_beside(piece, top, bands[-1], lowest):
            band = bands[-1]
            band.pieces.append(piece)
            band.v1 = max(band.v1, bottom)
            lowest = piece if bottom >= band.v1 else lowest
        else:
            bands.append(_Band([piece], top, bottom))
            lowest = piece
    for band in bands:
        band.filled = _union([(piece.u0, piece.u1) for piece in band.pieces])
    return bands


def _is_beside(piece: Piece, top: float, band: _Band, lowest: Piece | None) -> bool:
    """Whether a piece stands beside a band: at its height, or half a line below its lowest piece in another column."""
    if top < band.v1:
        return True
    if lowest is None or top > band.v1 + _HALF_A_LINE * piece.size:
        return False
    return max(piece.u0 - lowest.u1, lowest.u0 - piece.u1) > _GUTTER * piece.size


def _height(piece: Piece) -> Interval:
    """The part of a line's height that letters without strokes up or down take: lines set tight do not overlap in it."""
    if piece.first < 0 and not piece.text:  # something drawn, that stands for itself
        return piece.v0, piece.v1
    return piece.base - 0.5 * piece.size, piece.base


def _union(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(free: list[Interval], filled: list[Interval], least: float) -> list[Interval]:
    """What is left of the free intervals once others are filled, where it is wide enough."""
    left: list[Interval] = []
    for start, end in free:
        at = start
        for taken, until in filled:
            if until <= at:
                continue
            if taken >= end:
                break
            if taken - at >= least:
                left.append((at, taken))
            at = max(at, until)
        if end - at >= least:
            left.append((at, end))
    return left


def _groups(bands: list[_Band], em: float) -> list[_Group]:
    """Neighbouring bands that leave the same gutters free."""
    groups: list[_Group] = []
    for band in bands:
        alone = _group_of(band, em)
        group = groups[-1] if groups else None
        joined = _joined(group, band, alone, em) if group else None
        if joined:
            groups[-1] = joined
        else:
            groups.append(alone)
    return groups


def _group_of(band: _Band, em: float) -> _Group:
    free = _without([(float("-inf"), float("inf"))], band.filled, _GUTTER * em)
    gutters = _interior(free)
    if len(gutters) > _MOST_GUTTERS:
        return _Group([band], {}, [])
    return _Group([band], {gutter: _support(band, gutter) for gutter in gutters}, free)


def _interior(free: list[Interval]) -> list[Interval]:
    return [one for one in free if one[0] != float("-inf") and one[1] != float("inf")]


def _support(band: _Band, gutter: Interval) -> int:
    """How many lines of a band have text on both sides of a gutter."""
    left = {round(piece.base) for piece in band.pieces if piece.u1 <= gutter[0] + 0.01}
    right = {round(piece.base) for piece in band.pieces if piece.u0 >= gutter[1] - 0.01}
    return min(len(left), len(right))


def _joined(group: _Group, band: _Band, alone: _Group, em: float) -> _Group | None:
    """The group with one more band; None where that begins a new one."""
    free = _without(group.free, band.filled, _GUTTER * em)
    inside = _interior(free)
    if group.gutters:
        if band.v0 - group.bands[-1].v1 > _FAR * em:
            return None
        broken = [gutter for gutter in group.gutters if not any(_meet(gutter, one) for one in inside)]
        if any(group.gutters[gutter] > 1 for gutter in broken) and not _parts_columns(group, inside):
            return None
        wide = sum(end - start > 1.5 * em for start, end in alone.gutters)
        if alone.gutters and (
            len(broken) == len(group.gutters)
            or (wide > 3 and wide > 1.5 * len(group.gutters) + 1 and not group.settled)
        ):
            return None
    elif alone.gutters:
        return None
    gutters = {
        one: max((told for gutter, told in group.gutters.items() if _meet(gutter, one)), default=0)
        + _support(band, one)
        for one in inside
    }
    return _Group([*group.bands, band], gutters, free)


def _parts_columns(group: _Group, gutters: list[Interval]) -> bool:
    """Whether one of these gutters has a column of prose beside it: then it goes on, whatever ends within the other column."""
    for gutter in gutters:
        if max((told for one, told in group.gutters.items() if _meet(gutter, one)), default=0) > _FEW_LINES:
            inside = [piece for band in group.bands for piece in band.pieces]
            if any(map(_is_prose, map(lines_of, _columns(inside, [gutter])))):
                return True
    return False


def _meet(one: Interval, other: Interval) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _columns(pieces: list[Piece], gutters: list[Interval]) -> list[list[Piece]]:
    columns: list[list[Piece]] = [[] for _ in range(len(gutters) + 1)]
    for piece in pieces:
        columns[_column(piece, gutters)].append(piece)
    return [column for column in columns if column]


def _column(piece: Piece, gutters: list[Interval]) -> int:
    middle = (piece.u0 + piece.u1) / 2
    return sum(middle > (start + end) / 2 for start, end in gutters)


def _is_list(column: list[Piece]) -> bool:
    """Whether a first column holds nothing but the marks before a list's items."""
    return all(MARKER.fullmatch(piece.text.strip()) for piece in column)


def _is_code(pieces: list[Piece]) -> bool:
    """Whether pieces are typed in letters of one width, which are read across with their gaps."""
    return sum(piece.mono for piece in pieces) * 10 > len(pieces) * 7


def _height_in_lines(column: list[Piece]) -> int:
    return len({round(piece.base) for piece in column})


def _is_table(group: _Group, columns: list[list[Piece]]) -> bool:
    """Whether columns are the columns of a table: their lines stand side by side, and not two of them are full of prose."""
    if any(not piece.text for column in columns for piece in column):
        return False
    lines = [lines_of(column) for column in columns]
    bands = len(group.bands)
    if bands < (3 if len(columns) == 2 else 2) or max(map(len, lines)) > 3.5 * bands:
        return False
    filled = [{_column(piece, group.strong) for piece in band.pieces} for band in group.bands]
    single = [one for one in filled if len(one) == 1]
    # Lines that stand alone go on in a cell of the row above where they all stand in one column.
    usual = max((single.count({column}) for column in range(len(group.strong) + 1)), default=0)
    least = 0.5 if len(columns) == 2 else 0.2 if len(columns) > 3 or usual * 4 >= len(single) * 3 else 0.75
    if bands - len(single) < max(2, least * bands):
        return False
    return sum(_is_prose(column) for column in lines) < 2


def _is_prose(lines: list[list[Piece]]) -> bool:
    """Whether lines fill their column from edge to edge, or begin in the middle of sentences, as running text does."""
    if len(lines) < 3:
        return False
    whole = [line for line in lines if not _has_gaps(line)]
    if len(whole) * 4 < len(lines) * 3:
        return False
    going_on = sum(line[0].text[:1].islower() for line in lines[1:])
    widths = [max(piece.u1 for piece in line) - min(piece.u0 for piece in line) for line in lines]
    written = [" ".join(piece.text for piece in line) for line in lines]
    letters = [sum(map(str.isalpha, text)) for text in written]
    if median(text.count(" ") for text in written) < 2:
        return False
    if median(letters) > 10 and len(lines) > 3 and going_on * 2 > len(lines):
        return True
    return median(letters) > 18 and sum(width > 0.8 * max(widths) for width in widths) * 5 > len(widths) * 2


def _has_gaps(line: list[Piece]) -> bool:
    """Whether there are gaps in a line as wide as those between cells."""
    return any(
        after.u0 - before.u1 > 1.5 * after.size for before, after in pairwise(sorted(line, key=lambda one: one.u0))
    )


def _rows(group: _Group, gutters: list[Interval], em: float) -> list[list[list[Piece]]]:
    """The rows of a table: one for each band, with lines that only go on in one cell put to the row above."""
    rows: list[list[list[Piece]]] = []
    last = float("-inf")
    for band in group.bands:
        row: list[list[Piece]] = [[] for _ in range(len(gutters) + 1)]
        for piece in band.pieces:
            row[_column(piece, gutters)].append(piece)
        filled = [index for index, cell in enumerate(row) if cell]
        # What stands only under cells of the row above goes on in them: one cell alone, or several set as tight as lines of text.
        near = band.v0 - last < (1.6 if len(filled) == 1 else 0.8) * em
        if (
            rows
            and filled[0] > 0
            and near
            and all(rows[-1][index] for index in filled)
            and sum(map(bool, rows[-1])) > len(filled)
        ):
            for index in filled:
                rows[-1][index] += row[index]
        else:
            rows.append(row)
        last = band.v1
    return rows
