"""The plot of a task: what a thousand jobs cost against how good the answers are, a mark with its interval for each way to do it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element

from orchestrator.rightsizing.advice.page.labels import Box, Wish, placed
from orchestrator.rightsizing.advice.page.markup import Part, short, tag
from orchestrator.rightsizing.advice.page.scale import Axis, cost_axis, share_axis
from orchestrator.rightsizing.advice.points import Plane, Point
from orchestrator.rightsizing.advice.words import percent
from orchestrator.rightsizing.evidence.quality import ITSELF

WIDTH: Final = 760
HEIGHT: Final = 400
LEFT: Final = 58
RIGHT: Final = 16
TOP: Final = 30
BOTTOM: Final = 48
FREE_WIDTH: Final = 54
"""Of the strip at the left, for what costs nothing and so has no place on a logarithmic axis."""
JOBS: Final = 1_000
CHAR_WIDTH: Final = 6.9
LINE: Final = 16.5
MOST_NAME: Final = 34
MOST_FULL: Final = 6
"""Points that have their figures beside their names."""
SIZE: Final = 5.0
TIERS: Final = ("slm", "llm", "rlm", "mllm")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot, and the names of points that found no room for a label."""

    svg: Element
    unlabelled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things stand in the drawing."""

    across: Axis
    up: Axis
    left: float

    def x(self, usd: float) -> float:
        """Of a cost; what is free stands in the strip at the left."""
        if usd <= 0:
            return LEFT + FREE_WIDTH / 2
        return round(self.left + self.across.at(usd * JOBS) * (WIDTH - RIGHT - self.left), 1)

    def y(self, share: float) -> float:
        """Of a quality."""
        return round(HEIGHT - BOTTOM - self.up.at(share) * (HEIGHT - TOP - BOTTOM), 1)

    def place(self, point: Point) -> tuple[float, float]:
        """Of a point."""
        return self.x(float(point.usd.usd)), self.y(point.quality.value)


def drawing(plane: Plane, name: str) -> Drawing:
    """The plot of a plane that has at least one point; `name` makes its ids its own."""
    frame = _frame(plane)
    points = sorted(plane.points, key=_importance)
    boxes = [_reach(point, frame) for point in points]
    texts = [_texts(point, brief=len(points) > MOST_FULL) for point in points]
    wishes = [
        Wish(*frame.place(point), _width(lines), LINE * len(lines), (box.top, box.bottom))
        for point, lines, box in zip(points, texts, boxes, strict=True)
    ]
    area = Box(LEFT + 4, TOP, WIDTH - RIGHT + 8, HEIGHT - BOTTOM - 3)
    needed = _needed_words(plane, frame, [*boxes, *_front_boxes(plane, frame)])
    lines = [*_front_boxes(plane, frame), *_needed_line(plane, frame)]
    found = placed(wishes, boxes if needed is None else [*boxes, needed], lines, area)
    labels = [
        _label(wish, lines, box) for wish, lines, box in zip(wishes, texts, found, strict=True) if box is not None
    ]
    title = tag("title", f"Cost and quality by {plane.source}", id=f"{name}-title")
    svg = tag(
        "svg", title, tag("desc", _told(plane), id=f"{name}-told"), *_ground(plane, frame), *_needed(plane, frame, needed), *_front(plane, frame),
        *(_mark(point, frame) for point in reversed(points)), *labels,
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=f"{name}-title {name}-told", class_="plane",
    )  # fmt: skip
    left_out = tuple(point.name for point, box in zip(points, found, strict=True) if box is None)
    return Drawing(svg, left_out)


def _frame(plane: Plane) -> _Frame:
    costs = [
        float(usd) * JOBS
        for point in plane.points
        for usd in (point.usd.low_usd, point.usd.usd, point.usd.high_usd)
        if usd > 0
    ]
    shares = [share for point in plane.points for share in (point.quality.low, point.quality.high)]
    has_free = any(point.usd.usd <= 0 for point in plane.points)
    needed = [] if plane.needed is None else [plane.needed]
    return _Frame(cost_axis(costs or [1.0]), share_axis([*shares, *needed]), LEFT + (FREE_WIDTH if has_free else 0))


def _importance(point: Point) -> tuple[bool, bool, float]:
    return (point.standing != "front", point.kind == "model" and not point.is_reference, -point.quality.value)


def _ground(plane: Plane, frame: _Frame) -> list[Element]:
    """Axes, marks and what lies below what is needed."""
    base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    made = []
    if plane.needed is not None:
        y = frame.y(plane.needed)
        made.append(tag("rect", x=LEFT, y=y, width=right - LEFT, height=round(base - y, 1), class_="below"))
    for tick in frame.up.ticks:
        y = frame.y(tick)
        made.append(tag("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid"))
        made.append(tag("text", percent(tick), x=LEFT - 8, y=y + 4, class_="end"))
    for tick in frame.across.ticks:
        x = frame.x(tick / JOBS)
        made.append(tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis"))
        made.append(tag("text", dollars(tick), x=x, y=base + 19, class_="middle"))
    if frame.left > LEFT:
        made.append(tag("text", "free", x=frame.x(0), y=base + 19, class_="middle"))
        made.append(tag("line", x1=frame.left, x2=frame.left, y1=TOP, y2=base, class_="cut"))
    made.append(tag("line", x1=LEFT, x2=right, y1=base, y2=base, class_="axis"))
    made.append(tag("text", _says(plane), x=4, y=14, class_="unit"))
    made.append(tag("text", "Cost of a thousand jobs, logarithmic", x=right, y=HEIGHT - 8, class_="unit end"))
    return made


def _says(plane: Plane) -> str:
    return {
        "labels": "Answers that are right, by given labels",
        "agreement": "Answers that agree with the reference (agreement is not accuracy)",
        "judge": "Answers that are right, by the judge's verdict",
        "feedback": "Answers that callers found good",
        "checks": "Answers that pass the checks (which is not accuracy)",
    }[plane.source]


def _needed(plane: Plane, frame: _Frame, words: Box | None) -> list[Element]:
    """The line of what is needed, with its words where they are in nothing's way."""
    if plane.needed is None:
        return []
    y = frame.y(plane.needed)
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="needed")
    return (
        [line]
        if words is None
        else [line, tag("text", _needed_text(plane), x=round(words.left, 1), y=y + 14, class_="alarm")]
    )


def _needed_text(plane: Plane) -> str:
    return f"below the {percent(plane.needed or 0)} that is needed"


def _needed_words(plane: Plane, frame: _Frame, others: Sequence[Box]) -> Box | None:
    """Where the words stand under the line: at its right end, or as near to it as nothing else stands."""
    if plane.needed is None:
        return None
    y, width = frame.y(plane.needed), CHAR_WIDTH * len(_needed_text(plane))
    lefts = range(int(WIDTH - RIGHT - 4 - width), LEFT, -12)
    boxes = (Box(left, y + 1, left + width, y + 18) for left in lefts)
    return next((box for box in boxes if not any(box.meets(other) for other in others)), None)


def _needed_line(plane: Plane, frame: _Frame) -> list[Box]:
    if plane.needed is None:
        return []
    y = frame.y(plane.needed)
    return [Box(LEFT, y - 1, WIDTH - RIGHT, y + 1)]


def _front(plane: Plane, frame: _Frame) -> list[Element]:
    """The Pareto front as steps: the best quality that each sum buys."""
    corners = _corners(plane, frame)
    if len(corners) < 2:
        return []
    return [tag("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in corners), class_="steps")]


def _corners(plane: Plane, frame: _Frame) -> list[tuple[float, float]]:
    corners: list[tuple[float, float]] = []
    for x, y in (frame.place(point) for point in plane.front):
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners


def _front_boxes(plane: Plane, frame: _Frame) -> list[Box]:
    corners = _corners(plane, frame)
    pairs = pairwise(corners)
    return [Box(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in pairs]


def _reach(point: Point, frame: _Frame) -> Box:
    """What a mark with its interval takes."""
    x, y = frame.place(point)
    return Box(x - 7, min(y - 7, frame.y(point.quality.high) - 2), x + 7, max(y + 7, frame.y(point.quality.low) + 2))


def _mark(point: Point, frame: _Frame) -> Element:
    x, y = frame.place(point)
    high, low = frame.y(point.quality.high), frame.y(point.quality.low)
    parts: list[Part] = [tag("title", _sentence(point))]
    if low - high > 1:
        parts.append(tag("line", x1=x, x2=x, y1=high, y2=low, class_="whisker"))
        parts += [tag("line", x1=x - 4, x2=x + 4, y1=end, y2=end, class_="whisker") for end in (high, low)]
    if point.usd.usd > 0 and point.usd.high_usd > point.usd.low_usd > 0:
        ends = frame.x(float(point.usd.low_usd)), frame.x(float(point.usd.high_usd))
        parts.append(tag("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="whisker"))
    return tag(
        "g",
        *parts,
        form(point.kind, point.tiers, x, y),
        class_=f"mark {point.standing} {look(point.kind, point.tiers)}",
    )


def look(kind: str, tiers: Sequence[str]) -> str:
    """The class that a mark has its colour from."""
    return f"tier-{tiers[0]}" if kind == "model" and tiers and tiers[0] in TIERS else kind


def form(kind: str, tiers: Sequence[str], x: float, y: float) -> Element:
    """The form of a mark, so that it can be told without its colour: its tier, a cascade, or the task as it is."""
    tier = tiers[0] if kind == "model" and tiers else kind
    if tier == "slm":
        return tag("circle", cx=x, cy=y, r=SIZE)
    if tier == "llm":
        return tag("rect", x=round(x - SIZE, 1), y=round(y - SIZE, 1), width=2 * SIZE, height=2 * SIZE)
    if tier == "now":
        return tag("circle", cx=x, cy=y, r=SIZE - 0.5)
    reach = 1.35 * SIZE
    corners = {
        "rlm": ((0, -reach), (reach, 0.8 * reach), (-reach, 0.8 * reach)),
        "mllm": ((0, reach), (reach, -0.8 * reach), (-reach, -0.8 * reach)),
    }.get(tier, ((0, -reach), (reach, 0), (0, reach), (-reach, 0)))
    return tag("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners))


def _texts(point: Point, *, brief: bool) -> tuple[str, ...]:
    """Its name, and its figures below, which the table has as well."""
    made_up = " (simulated)" if point.simulated else ""
    price = f"{dollars(float(point.usd.usd) * JOBS)}" if point.usd.usd > 0 else "free"
    name = f"{short(point.name, MOST_NAME)}{made_up}"
    return (name,) if brief else (name, f"{price} · {_share(point)}")


def _share(point: Point) -> str:
    low, high = percent(point.quality.low), percent(point.quality.high)
    return percent(point.quality.value) if low == high else f"{percent(point.quality.value)} ({low} to {high})"


def _width(lines: Sequence[str]) -> float:
    return max(len(lines[0]) * 1.08, *map(len, lines[1:]), 0) * CHAR_WIDTH + 6


def _label(wish: Wish, lines: Sequence[str], box: Box) -> Element:
    """Its lines of text, and a thin one to the mark where it stands far from it."""
    x, y = box.nearest(wish.x, wish.y)
    parts: list[Part] = []
    if not wish.is_by(box):
        parts.append(tag("line", x1=wish.x, y1=wish.y, x2=round(x, 1), y2=round(y, 1), class_="leader"))
    is_left = box.left + box.right < 2 * wish.x - 20
    at = round(box.right if is_left else box.left, 1)
    side = "end " if is_left else ""
    parts.append(tag("text", lines[0], x=at, y=round(box.top + 12.5, 1), class_=f"{side}name"))
    parts += [tag("text", line, x=at, y=round(box.top + 28, 1), class_=f"{side}soft") for line in lines[1:]]
    return tag("g", *parts, class_="label")


def _sentence(point: Point) -> str:
    price = f"{dollars(float(point.usd.usd) * JOBS)} a thousand jobs" if point.usd.usd > 0 else "free"
    seen = "by definition" if point.quality.note == ITSELF else f"from {point.quality.n:,} verdicts"
    return f"{point.name}: {price}, {_share(point)} {seen}"


def _told(plane: Plane) -> str:
    return "; ".join(_sentence(point) for point in plane.points) + "."


def dollars(value: float) -> str:
    """A sum of an axis or a label: two digits that count, cents from a cent on."""
    if value >= 100:
        return f"${value:,.0f}"
    if value >= 0.01:
        return f"${value:.2f}".removesuffix(".00")
    text = f"{float(f'{value:.2g}'):.9f}".rstrip("0")
    return f"${text}" if float(text) else "<$0.000000001"
