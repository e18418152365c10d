"""The grids of ruled tables, found in the lines that are drawn on a page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.documents.readers.pdf_drawings import Drawings, Line
from orchestrator.documents.readers.pdf_glyphs import Flags, Numbers


@dataclass(frozen=True, slots=True)
class Grid:
    """A ruled table: the places of its lines, and which of the inner ones are there beside each cell."""

    xs: list[float]
    ys: list[float]
    down: list[Line]


_NEAR: Final = 3.0


def grids_of(drawings: Drawings) -> list[Grid]:
    """The grids that lines across and down make where they meet: at least two rows and two columns, the largest first."""
    across, down = _merged(drawings.across), _merged(drawings.down)
    if len(across) < 3 or len(down) < 3 or len(across) * len(down) > 1_000_000:
        return []
    h, v = np.array(across), np.array(down)
    meets = (
        (h[:, None, 1] - _NEAR <= v[None, :, 0])
        & (v[None, :, 0] <= h[:, None, 2] + _NEAR)
        & (v[None, :, 1] - _NEAR <= h[:, None, 0])
        & (h[:, None, 0] <= v[None, :, 2] + _NEAR)
    )
    grids = []
    left = set(range(len(down)))
    while left:
        rows, columns = _linked(meets, left.pop())
        left -= columns
        if not rows:
            continue
        lines, walls = h[sorted(rows)], v[sorted(columns)]
        # A table may be open at its sides: the lines across then go on beyond the last one down.
        ys = _distinct([*lines[:, 0].tolist(), walls[:, 1].min(), walls[:, 2].max()])
        xs = _distinct([*walls[:, 0].tolist(), lines[:, 1].min(), lines[:, 2].max()])
        if len(ys) >= 3 and len(xs) >= 3 and _is_ruled(lines, walls, ys, xs):
            grids.append(Grid(xs, ys, [down[index] for index in sorted(columns)]))
    return sorted(grids, key=lambda grid: (grid.xs[0] - grid.xs[-1]) * (grid.ys[-1] - grid.ys[0]))


def _is_ruled(lines: Numbers, walls: Numbers, ys: list[float], xs: list[float]) -> bool:
    """Whether lines go through most of what they enclose, as they do not in a drawing of boxes and arrows."""
    across = float((lines[:, 2] - lines[:, 1]).sum()) / (len(ys) * (xs[-1] - xs[0]))
    down = float((walls[:, 2] - walls[:, 1]).sum()) / (len(xs) * (ys[-1] - ys[0]))
    return max(across, down) > 0.6 and min(across, down) > 0.15


def _linked(meets: Flags, column: int) -> tuple[set[int], set[int]]:
    """Lines across and lines down that hang together with one line down."""
    rows: set[int] = set()
    columns, new = {column}, [column]
    while new:
        found = np.flatnonzero(meets[:, new].any(axis=1)).tolist()
        fresh = [row for row in found if row not in rows]
        rows.update(fresh)
        new = [one for one in np.flatnonzero(meets[fresh].any(axis=0)).tolist() if one not in columns] if fresh else []
        columns.update(new)
    return rows, columns


def _merged(lines: list[Line]) -> list[Line]:
    """Lines with those put together that lie on each other or go on where the other ends."""
    merged: list[Line] = []
    for place, start, end in sorted((round(place, 0), start, end) for place, start, end in lines):
        last = merged[-1] if merged else None
        if last and place == last[0] and start <= last[2] + _NEAR:
            merged[-1] = (place, last[1], max(end, last[2]))
        else:
            merged.append((place, start, end))
    return merged


def _distinct(places: list[float]) -> list[float]:
    """Places in order, those nearer than a line's height as one."""
    kept: list[float] = []
    for place in sorted(places):
        if not kept or place - kept[-1] > _NEAR:
            kept.append(place)
    return kept
