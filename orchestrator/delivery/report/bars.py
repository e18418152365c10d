"""Shares as bars. They stand beside their numbers, so that who cannot see them misses nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.delivery.plain import share
from orchestrator.delivery.report.markup import Html, joined, tag

LENGTH: Final = 84
WIDTH: Final = 720


def share_bar(part: float, whole: float) -> Html:
    """A share as a small bar with its number."""
    length = round(LENGTH * part / whole, 1) if whole else 0
    drawn = [tag("rect", width=LENGTH, height=7, class_="track"), tag("rect", width=length, height=7, class_="filled")]
    shown = tag("svg", *drawn, viewBox=f"0 0 {LENGTH} 7", width=LENGTH, height=7, aria_hidden="true", class_="bar")
    return joined([shown, " ", tag("span", share(part, whole), class_="share")])


def swatch(kind: str) -> Html:
    """A spot of the colour that a part has in a bar."""
    spot = tag("rect", width=10, height=10, class_=kind)
    return tag("svg", spot, viewBox="0 0 10 10", width=10, height=10, aria_hidden="true", class_="swatch")


def parts_bar(parts: Sequence[tuple[str, int, str]], title: str) -> Html:
    """Parts of a whole as one bar: words, number and class of each."""
    total = sum(number for _, number, _ in parts)
    x = 0.0
    drawn: list[Html] = []
    for words, number, kind in parts:
        if number:
            width = WIDTH * number / total
            told = tag("title", f"{words}: {number:,} ({share(number, total)})")
            gap = 2 if x + width < WIDTH - 1 else 0
            shown = tag("rect", x=round(x, 1), width=round(max(width - gap, 1), 1), height=16)
            drawn.append(tag("g", told, shown, class_=kind))
            if width > 70:
                drawn.append(
                    tag(
                        "text",
                        share(number, total),
                        x=round(x + width / 2, 1),
                        y=12,
                        text_anchor="middle",
                        class_="inside",
                    )
                )
            x += width
    name = f"parts-{parts[0][2]}"
    return tag(
        "svg",
        tag("title", title, id=name),
        *drawn,
        viewBox=f"0 0 {WIDTH} 16",
        role="img",
        aria_labelledby=name,
        class_="parts",
    )
