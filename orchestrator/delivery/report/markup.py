"""HTML put together so that nothing can get into it as markup: every text is escaped unless it was made here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

DRAWN: Final = frozenset({"circle", "rect", "line", "polygon"})
"""Elements of a drawing that hold nothing; HTML takes the short form for these alone."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Part = str | Html
"""A plain text, which is escaped, or HTML."""
NOTHING: Final = Html("")
SHORT: Final = 14


def tag(name: str, *parts: Part, **attributes: str | float) -> Html:
    """An element. Attributes are escaped; `class_` stands for `class`, and `_` within a name for `-`."""
    told = "".join(f' {_attribute(key)}="{escape(str(value))}"' for key, value in attributes.items())
    if name in DRAWN:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{joined(parts)}</{name}>")


def joined(parts: Iterable[Part]) -> Html:
    """Parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def foreign(text: str) -> Html:
    """A text from a document or a model: whatever direction it is written in, it does not turn what stands around it."""
    return tag("bdi", text)


def with_code(text: str) -> Html:
    """A text in which what stands between backticks is shown as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them has no partner
        return joined([text])
    return joined(tag("code", part) if place % 2 else part for place, part in enumerate(parts))


def section(anchor: str, heading: str, *parts: Part) -> Html:
    """A section with its heading."""
    return tag("section", tag("h2", heading, id=anchor), *parts, aria_labelledby=anchor)


def figures(
    rows: Sequence[Sequence[Part]],
    columns: Sequence[str],
    caption: str,
    *,
    words: int = 1,
    total: Sequence[Part] = (),
    short: int = SHORT,
) -> Html:
    """A table: its first columns are words, the others numbers; the first cell of a row is its heading.

    One of at most `short` rows is not broken where paper ends.
    """
    head = tag("tr", *(tag("th", name, scope="col", class_=_side(place, words)) for place, name in enumerate(columns)))
    body = [_row(row, words) for row in rows]
    foot = tag("tfoot", _row(total, words)) if total else NOTHING
    parts = (tag("caption", caption), tag("thead", head), tag("tbody", *body), foot)
    return tag("table", *parts, class_="short" if len(rows) <= short else "long")


def _row(cells: Sequence[Part], words: int) -> Html:
    first, *others = cells
    made = [tag("td", cell, class_=_side(place, words)) for place, cell in enumerate(others, 1)]
    return tag("tr", tag("th", first, scope="row", class_="word"), *made)


def _side(place: int, words: int) -> str:
    return "word" if place < words else "number"


def _attribute(key: str) -> str:
    if key == "viewBox":
        return key
    return key.rstrip("_").replace("_", "-")
