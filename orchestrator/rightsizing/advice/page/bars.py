"""A task's spend as bars: what it took, beside what it would have been. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from xml.etree.ElementTree import Element

from orchestrator.rightsizing.advice.page.markup import Part, short, tag
from orchestrator.rightsizing.advice.words import between, money
from orchestrator.rightsizing.evidence.facts import Amount

WIDTH: Final = 760
NAMES: Final = 204
SUMS: Final = 196
ROW: Final = 30
THICK: Final = 17
MOST_NAME: Final = 28
PARTS: Final = {
    "answers": "answers delivered",
    "escalation": "answers not accepted",
    "audits": "audits",
    "training": "training",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One sum, as it was put together; `low_usd` and `high_usd` are the ends of its interval."""

    name: str
    parts: tuple[tuple[str, Decimal], ...]
    low_usd: Decimal
    high_usd: Decimal

    @property
    def usd(self) -> Decimal:
        """All of it."""
        return sum((usd for _, usd in self.parts), Decimal(0))


def whole(name: str, amount: Amount) -> Bar:
    """A sum that was never spent, in one piece."""
    return Bar(name, (("other", amount.usd),), amount.low_usd, amount.high_usd)


def spent(name: str, **parts: Decimal) -> Bar:
    """A sum that was, in its parts."""
    total = sum(parts.values(), Decimal(0))
    return Bar(name, tuple(parts.items()), total, total)


def drawing(bars: Sequence[Bar], title: str, name: str) -> Element:
    """The bars, all on one scale from 0; `name` makes its ids its own."""
    most = float(max((bar.high_usd for bar in bars), default=Decimal(0))) or 1.0
    height = ROW * len(bars)
    rows = [part for at, bar in enumerate(bars) for part in _row(bar, ROW * at, most)]
    told = "; ".join(f"{bar.name}: {_sum(bar)}" for bar in bars)
    return tag(
        "svg", tag("title", title, id=f"{name}-title"), tag("desc", f"{told}.", id=f"{name}-told"), *rows,
        tag("line", x1=NAMES, x2=NAMES, y1=2, y2=height - 2, class_="axis"),
        viewBox=f"0 0 {WIDTH} {height}", role="img", aria_labelledby=f"{name}-title {name}-told", class_="bars",
    )  # fmt: skip


def _row(bar: Bar, top: int, most: float) -> list[Part]:
    reach = WIDTH - NAMES - SUMS
    middle, y = top + ROW / 2, top + (ROW - THICK) / 2
    made: list[Part] = [tag("text", short(bar.name, MOST_NAME), x=NAMES - 10, y=middle + 4.5, class_="end name")]
    x = float(NAMES)
    for kind, usd in bar.parts:
        width = reach * float(usd) / most
        if usd > 0:
            shown = round(max(width, 0.8), 1)
            told = tag("title", f"{PARTS.get(kind, bar.name)}: {money(usd)}")
            made.append(tag("rect", told, x=round(x, 1), y=y, width=shown, height=THICK, class_=f"part-{kind}"))
            x += max(width, 0.8)
    if bar.high_usd > bar.low_usd:
        low, high = (round(NAMES + reach * float(end) / most, 1) for end in (bar.low_usd, bar.high_usd))
        made.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
        made += [tag("line", x1=end, x2=end, y1=middle - 4, y2=middle + 4, class_="whisker") for end in (low, high)]
        x = max(x, high)
    made.append(tag("text", _sum(bar), x=round(x + 9, 1), y=middle + 4.5, class_="sum"))
    return made


def _sum(bar: Bar) -> str:
    low, high = money(bar.low_usd), money(bar.high_usd)
    return money(bar.usd) if low == high else f"{money(bar.usd)} ({between(low, high)})"


def legend(bars: Sequence[Bar]) -> Element | None:
    """The parts that bars have, each with a spot of its colour."""
    found = [kind for kind in PARTS if any(kind == part and usd > 0 for bar in bars for part, usd in bar.parts)]
    return (
        tag("p", *(tag("span", swatch(f"part-{kind}"), PARTS[kind]) for kind in found), class_="legend")
        if found
        else None
    )


def swatch(kind: str) -> Element:
    """A spot of a colour."""
    spot = tag("rect", width=11, height=11, class_=kind)
    return tag("svg", spot, viewBox="0 0 11 11", width=11, height=11, aria_hidden="true", class_="swatch")
