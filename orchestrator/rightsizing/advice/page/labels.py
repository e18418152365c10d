"""Where the labels of a plot stand: as near to their marks as there is room, and never over each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

GAP: Final = 11.0
"""Between a mark and its label."""
CLOSE: Final = 20.0
"""Within this a label is seen to belong to its mark."""
AROUND: Final = 45.0
"""How far a label goes to stand over no line."""
STEP: Final = 9.0
"""Of the search, where nothing next to the mark is free."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they share any room."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies wholly within."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place of it that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


@dataclass(frozen=True, slots=True)
class Wish:
    """A label of a size that would stand next to its mark."""

    x: float
    y: float
    width: float
    height: float
    reach: tuple[float, float] | None = None
    """The upper and the lower end of its mark, where that is tall."""

    def is_by(self, box: Box) -> bool:
        """Whether a label there is seen to belong to the mark without a line to it."""
        upper, lower = self.reach or (self.y, self.y)
        x = min(max(self.x, box.left), box.right)
        beside = box.top <= self.y <= box.bottom
        apart = 0.0 if beside else max(box.top - lower, upper - box.bottom)
        if not beside and box.left < self.x < box.right:
            return apart <= CLOSE
        return abs(x - self.x) <= CLOSE and (beside or abs(min(max(self.y, box.top), box.bottom) - self.y) <= CLOSE)


def placed(wishes: Sequence[Wish], marks: Sequence[Box], lines: Sequence[Box], area: Box) -> list[Box | None]:
    """A place within the area for each label, the first wish first; None where there is no room left for it.

    Labels never stand over marks or each other, and over lines only where the way around them is long.
    """
    taken: list[Box] = []
    found: list[Box | None] = []
    for wish in wishes:
        solid = [*taken, *marks]
        box = next((box for box, over in _tries(wish, area, lines) if _is_free(box, area, [*solid, *over])), None)
        found.append(box)
        if box is not None:
            taken.append(box)
    return found


def _tries(wish: Wish, area: Box, lines: Sequence[Box]) -> Iterator[tuple[Box, Sequence[Box]]]:
    """Places in the order in which they are tried, each with the lines that it must not stand over."""
    near = list(_near(wish))
    yield from ((box, lines) for box in near)
    anywhere = list(_anywhere(wish, area))
    yield from ((box, lines) for box in anywhere if _distance(box, wish) < AROUND**2)
    yield from ((box, ()) for box in near)
    yield from ((box, lines) for box in anywhere)
    yield from ((box, ()) for box in anywhere)


def _is_free(box: Box, area: Box, others: Sequence[Box]) -> bool:
    return area.holds(box) and not any(box.meets(other) for other in others)


def _near(wish: Wish) -> Iterator[Box]:
    """Beside the mark, then above and below it."""
    width, height = wish.width, wish.height
    for down in (0.5, 1.08, -0.08):
        yield _box(wish.x + GAP, wish.y - down * height, wish)
        yield _box(wish.x - GAP - width, wish.y - down * height, wish)
    upper, lower = wish.reach or (wish.y - GAP + 3, wish.y + GAP - 3)
    for along in (0.5, 0.15, 0.85):
        yield _box(wish.x - along * width, upper - 3 - height, wish)
        yield _box(wish.x - along * width, lower + 3, wish)


def _anywhere(wish: Wish, area: Box) -> Iterator[Box]:
    """All over the area, by distance."""
    width, height = wish.width, wish.height
    rows = int((area.bottom - area.top - height) // STEP) + 1
    columns = int((area.right - area.left - width) // STEP) + 1
    grid = [
        _box(area.left + STEP * column, area.top + STEP * row, wish) for row in range(rows) for column in range(columns)
    ]
    yield from sorted(grid, key=lambda box: _distance(box, wish))


def _box(left: float, top: float, wish: Wish) -> Box:
    return Box(left, top, left + wish.width, top + wish.height)


def _distance(box: Box, wish: Wish) -> float:
    x, y = box.nearest(wish.x, wish.y)
    return (x - wish.x) ** 2 + (y - wish.y) ** 2
