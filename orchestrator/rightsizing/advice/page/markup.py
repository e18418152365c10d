"""HTML put together as a tree, so that it is well formed and nothing can get into it as markup: the serialiser escapes every text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element, tostring

SHORT: Final = 12
"""A table of at most so many rows is not broken where paper ends."""
Part = str | Element | None
"""What stands within an element: text, another element, or nothing."""


def tag(name: str, /, *parts: Part, **attributes: str | float) -> Element:
    """An element. `class_` stands for `class`, and `_` within a name for `-`."""
    made = Element(name, {_attribute(key): visible(str(value)) for key, value in attributes.items()})
    last: Element | None = None
    for part in parts:
        if isinstance(part, str):
            if last is None:
                made.text = (made.text or "") + visible(part)
            else:
                last.tail = (last.tail or "") + visible(part)
        elif part is not None:
            made.append(part)
            last = part
    return made


def written(element: Element) -> str:
    """An element as HTML."""
    return tostring(element, encoding="unicode", method="html")


def visible(text: str) -> str:
    """A text without what steers a screen or turns the direction of letters."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def foreign(text: str) -> Element:
    """A name that somebody gave: whatever direction it is written in, it does not turn what stands around it."""
    return tag("bdi", text)


def short(text: str, most: int) -> str:
    """A name of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def section(anchor: str, heading: Part, *parts: Part) -> Element:
    """A section with its heading."""
    return tag("section", tag("h2", heading, id=anchor), *parts, aria_labelledby=anchor)


def with_code(text: str) -> Element:
    """A sentence in which what stands between backticks is shown as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them has no partner
        return tag("span", text)
    return tag("span", *(tag("code", part) if at % 2 else part for at, part in enumerate(parts)))


def listed(texts: Iterable[str], kind: str) -> Element | None:
    """Sentences as a list; nothing for none."""
    rows = [tag("li", with_code(text)) for text in texts]
    return tag("ul", *rows, class_=kind) if rows else None


def figures(
    columns: Sequence[str], rows: Sequence[Sequence[Part]], caption: str, *, words: int = 1, total: Sequence[Part] = ()
) -> Element:
    """A table: its first columns are words, the others numbers; the first cell of a row is its heading."""
    head = tag("tr", *(tag("th", name, scope="col", class_=_side(at, words)) for at, name in enumerate(columns)))
    foot = tag("tfoot", _row(total, words)) if total else None
    body = tag("tbody", *(_row(row, words) for row in rows))
    kind = "wide short" if len(rows) <= SHORT else "wide"
    return tag("div", tag("table", tag("caption", caption), tag("thead", head), body, foot), class_=kind)


def _row(cells: Sequence[Part], words: int) -> Element:
    first, *others = cells
    made = [tag("td", cell, class_=_side(at, words)) for at, cell in enumerate(others, 1)]
    return tag("tr", tag("th", first, scope="row", class_="word"), *made)


def _side(at: int, words: int) -> str:
    return "word" if at < words else "number"


def _attribute(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")
