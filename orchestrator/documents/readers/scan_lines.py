"""From the runs of text found on a page to its blocks in reading order. Pure.

Everything is measured in the pixels of the page as it was turned to be read.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.documents.reading import BlockKind, Box

GUTTER: Final = 1.2
"""How wide the space between columns is at least, in heights of a line."""
COLUMN: Final = 7.0
"""How long the lines of a column are at least, in their heights: what is shorter stands in a table, and is read across."""
COLUMN_LINES: Final = 3
WIDE: Final = 1.6
"""A space so wide, in heights of a line, parts what stands in one row: it becomes two spaces."""
APART: Final = 0.9
"""Lines further apart than this, in their heights, beyond what is usual here, begin a new block."""
LARGE: Final = 1.5
"""So much higher than the usual line, a line is a heading."""
INITIAL: Final = 1.8
"""So much higher than the usual line, a single letter is the first one of a text, set large."""
LONGEST_HEADING: Final = 120
HYPHENS: Final = "-‐‑⸗¬="
"""What parts a word at the end of a line: `=` is how the double stroke of old type is read."""


@dataclass(frozen=True, slots=True)
class Run:
    """Some words in one line, and where they stand."""

    text: str
    box: Box

    @property
    def height(self) -> float:
        """How high it is."""
        return self.box[3] - self.box[1]

    @property
    def middle(self) -> float:
        """Where its line runs."""
        return (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of one line together."""

    text: str
    box: Box
    start: float
    """Where its small letters begin."""
    height: float


@dataclass(frozen=True, slots=True)
class Part:
    """A block as it was found."""

    text: str
    kind: BlockKind
    level: int
    box: Box


def parts(runs: Sequence[Run]) -> list[Part]:
    """The blocks of a page in reading order."""
    if not runs:
        return []
    usual = statistics.median(run.height for run in runs)
    return [part for column in _columns(list(runs), usual) for part in _blocks(_rows(column, usual), usual)]


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box around others."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))


def _rows(runs: Sequence[Run], usual: float) -> list[list[Run]]:
    """What stands at one height, from left to right; rows from top to bottom."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=lambda one: _anchor(one, usual)):
        if rows:
            middle = statistics.fmean(_anchor(one, usual) for one in rows[-1])
            if _anchor(run, usual) - middle < 0.5 * min(run.height, max(one.height for one in rows[-1])):
                rows[-1].append(run)
                continue
        rows.append([run])
    return [sorted(row, key=lambda one: one.box[0]) for row in rows]


def _anchor(run: Run, usual: float) -> float:
    """The height at which a run is read: a large first letter, with the first of the lines beside it."""
    return run.box[1] + usual / 2 if _is_initial(run, usual) else run.middle


def _is_initial(run: Run, usual: float) -> bool:
    return len(run.text) == 1 and run.text.isupper() and run.height > INITIAL * usual


def _columns(runs: list[Run], usual: float) -> list[list[Run]]:
    """Runs in groups that are each read from top to bottom: what stands above columns, each column, what stands below."""
    rows = _rows(runs, usual)
    right = max(run.box[2] for run in runs)
    groups: list[list[Run]] = [[]]
    at = 0
    while at < len(rows):
        stretch, gutter = _stretch(rows[at:], right, usual)
        if gutter is None:
            groups[-1] += rows[at]
            at += 1
            continue
        inside = [run for row in rows[at : at + stretch] for run in row]
        groups += _columns([run for run in inside if run.box[2] <= gutter], usual)
        groups += _columns([run for run in inside if run.box[2] > gutter], usual)
        groups.append([])
        at += stretch
    return [group for group in groups if group]


def _stretch(rows: Sequence[Sequence[Run]], right: float, usual: float) -> tuple[int, float | None]:
    """How many rows from the first on stand in two columns, and where the space between them is."""
    free = [(0.0, right)]
    taken: list[Run] = []
    found: tuple[int, float | None] = (0, None)
    for count, row in enumerate(rows, 1):
        free = _common(free, _gaps(row, right), GUTTER * usual)
        if not free:
            break
        taken += row
        middle = next((gap for gap in free if _parts_columns(taken, gap)), None)
        if middle is not None:
            found = (count, sum(middle) / 2)
    return found


def _gaps(row: Sequence[Run], right: float) -> list[tuple[float, float]]:
    ends = [0.0, *(run.box[2] for run in row)]
    starts = [*(run.box[0] for run in row), right]
    return list(zip(ends, starts, strict=True))


def _common(
    free: Sequence[tuple[float, float]], gaps: Sequence[tuple[float, float]], least: float
) -> list[tuple[float, float]]:
    both = [(max(one[0], other[0]), min(one[1], other[1])) for one in free for other in gaps]
    return [gap for gap in both if gap[1] - gap[0] >= least]


def _parts_columns(runs: Sequence[Run], gap: tuple[float, float]) -> bool:
    """Whether a space parts two columns of text, and not the cells of a table."""
    for side in ([run for run in runs if run.box[2] <= gap[0] + 1], [run for run in runs if run.box[0] >= gap[1] - 1]):
        if len(side) < COLUMN_LINES:
            return False
        if statistics.median((run.box[2] - run.box[0]) / run.height for run in side) < COLUMN:
            return False
    return True


def _blocks(rows: Sequence[Sequence[Run]], usual: float) -> list[Part]:
    lines = [_row(row, usual) for row in rows]
    steps = [low.box[1] - high.box[1] for high, low in itertools.pairwise(lines)]
    step = statistics.median(steps) if steps else usual
    left, right = min(line.box[0] for line in lines), max(line.box[2] for line in lines)
    flush = sum(line.box[0] - left < usual for line in lines) > 0.6 * len(lines)
    groups = [[lines[0]]]
    for above, line in itertools.pairwise(lines):
        far = line.box[1] - above.box[1] > step + APART * usual
        grown = not 1 / LARGE < line.height / above.height < LARGE
        indented = flush and line.start - left > 0.7 * usual and above.start - left < 0.4 * usual
        if far or grown or indented:
            groups.append([])
        groups[-1].append(line)
    return [_part(group, right, usual) for group in groups]


def _row(runs: Sequence[Run], usual: float) -> Row:
    text = runs[0].text
    for before, run in itertools.pairwise(runs):
        wide = run.box[0] - before.box[2] > WIDE * max(before.height, run.height)
        text += ("" if _is_initial(before, usual) else "  " if wide else " ") + run.text
    others = [run for run in runs if not _is_initial(run, usual)] or runs
    top, bottom = min(run.box[1] for run in others), max(run.box[3] for run in others)
    box = (min(run.box[0] for run in runs), top, max(run.box[2] for run in runs), bottom)
    return Row(text, box, min(run.box[0] for run in others), max(statistics.median(run.height for run in others), 1.0))


def _part(lines: Sequence[Row], right: float, usual: float) -> Part:
    full = [right - line.box[2] < 3 * usual and "  " not in line.text for line in lines[:-1]]
    prose = sum(full) >= max(0.7 * len(full), 1)
    text = lines[0].text
    for is_full, line in zip(full, lines[1:], strict=True):
        text = _continued(text, line.text, " " if is_full and prose else "\n")
    box = around([line.box for line in lines])
    large = statistics.median(line.height for line in lines) / usual
    if large < LARGE or len(text) > LONGEST_HEADING or not any(letter.isalpha() for letter in text):
        return Part(text, "paragraph", 0, box)
    level = 1 if large >= 2 else 2
    return Part("#" * level + " " + " ".join(text.split()), "heading", level, box)


def _continued(text: str, line: str, between: str) -> str:
    """A text and its next line: a word parted by a hyphen is whole again."""
    if len(text) > 2 and text[-1] in HYPHENS and text[-2].isalpha() and line[:1].islower():
        return text[:-1] + line
    return text + between + line
