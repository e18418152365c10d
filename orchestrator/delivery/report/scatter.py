"""Cost against length as a drawing: a point for each document of the sample, its form and colour telling the tier. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from orchestrator.delivery.plain import count, counted
from orchestrator.delivery.report.markup import Html, tag
from orchestrator.delivery.report.scale import Scale, scale_of
from orchestrator.delivery.summary import Sample

WIDTH: Final = 720
HEIGHT: Final = 370
LEFT: Final = 74
RIGHT: Final = 14
TOP: Final = 40
BOTTOM: Final = 54
ORDER: Final = ("slm", "llm", "rlm", "mllm")
SIZE: Final = 3.2


def scatter(samples: Mapping[str, Sample]) -> Html:
    """The drawing; of at least one point."""
    tiers = sorted((name for name in samples if samples[name].points), key=_rank)
    points = [point for name in tiers for point in samples[name].points]
    across, up = scale_of([chars for chars, _ in points]), scale_of([cost for _, cost in points])
    drawn = [_points(form_of(name), samples[name].points, across, up) for name in tiers]
    title = "Cost of each document against its length"
    told = (
        f"{counted(len(points), 'point')}. Across: characters of the document, {_axis_words(across)}. "
        f"Up: cost in dollars, {_axis_words(up)}."
    )
    return tag(
        "svg",
        tag("title", title, id="scatter-title"),
        tag("desc", told, id="scatter-told"),
        _grid(across, up),
        *drawn,
        _legend([(name, samples[name].seen) for name in tiers]),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby="scatter-title scatter-told",
        class_="scatter",
    )


def form_of(tier: str) -> int:
    """The number of a tier's form and colour."""
    return ORDER.index(tier) if tier in ORDER else len(ORDER)


def _rank(name: str) -> tuple[int, str]:
    return (form_of(name), name)


def _axis_words(scale: Scale) -> str:
    return "on a logarithmic axis" if scale.is_log else "on an axis from 0"


def _grid(across: Scale, up: Scale) -> Html:
    parts: list[Html] = []
    for tick in across.ticks:
        x = _x(across, tick)
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="grid"))
        parts.append(tag("text", _short(tick), x=x, y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    for tick in up.ticks:
        y = _y(up, tick)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", _dollars(tick), x=LEFT - 8, y=y + 4, text_anchor="end"))
    base = HEIGHT - BOTTOM
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis"))
    parts.append(tag("line", x1=LEFT, x2=LEFT, y1=TOP, y2=base, class_="axis"))
    log_x, log_y = (" (logarithmic)" if scale.is_log else "" for scale in (across, up))
    parts.append(tag("text", f"Characters{log_x}", x=WIDTH - RIGHT, y=HEIGHT - 12, text_anchor="end", class_="unit"))
    parts.append(tag("text", f"Dollars a document{log_y}", x=6, y=16, class_="unit"))
    return tag("g", *parts)


def _points(form: int, points: Sequence[tuple[int, float]], across: Scale, up: Scale) -> Html:
    marks = [_mark(form, _x(across, chars), _y(up, cost), SIZE) for chars, cost in points]
    return tag("g", *marks, class_=f"points tier-{form}")


def _mark(form: int, x: float, y: float, size: float) -> Html:
    """A circle, square, diamond or triangle, or a cross for what comes after: told apart without colour as well."""
    if form == 0:
        return tag("circle", cx=x, cy=y, r=size)
    if form == 1:
        return tag("rect", x=round(x - size, 1), y=round(y - size, 1), width=2 * size, height=2 * size)
    reach = 1.3 * size
    forms = {
        2: ((0, -reach), (reach, 0), (0, reach), (-reach, 0)),
        3: ((0, -reach), (reach, 0.8 * reach), (-reach, 0.8 * reach)),
    }
    cross = ((-reach, -1), (-1, -1), (-1, -reach), (1, -reach), (1, -1), (reach, -1), (reach, 1), (1, 1), (1, reach), (-1, reach),
             (-1, 1), (-reach, 1))  # fmt: skip
    return tag("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in forms.get(form, cross)))


def _legend(tiers: Sequence[tuple[str, int]]) -> Html:
    parts: list[Html] = []
    x = float(WIDTH - RIGHT)
    for name, seen in reversed(tiers):
        words = f"{name} ({count(seen)})"
        parts.append(tag("text", words, x=round(x, 1), y=16, text_anchor="end"))
        x -= 6.9 * len(words) + 9
        parts.append(tag("g", _mark(form_of(name), round(x, 1), 11.5, 4), class_=f"tier-{form_of(name)}"))
        x -= 18
    return tag("g", *parts, class_="legend")


def _x(scale: Scale, value: float) -> float:
    return round(LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT), 1)


def _y(scale: Scale, value: float) -> float:
    return round(HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - TOP - BOTTOM), 1)


def _short(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _dollars(value: float) -> str:
    return f"${value:,.10f}".rstrip("0").rstrip(".") if value < 1_000 else f"${_short(value)}"
