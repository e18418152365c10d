"""What the styles and lists of a Word document say of a paragraph: whether it is a heading, and where in which list it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MOST_BASES: Final = 20
"""Styles that stand on each other; a chain that is longer is a circle."""
MOST_LEVELS: Final = 9

_HEADING: Final = re.compile(r"heading ([1-9])")
_PLACEHOLDER: Final = re.compile(r"%([1-9])")
_PLAIN: Final = re.compile(r"\d{1,9}[.)]")
_ROMAN: Final = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"),
    (4, "iv"), (1, "i"),
)  # fmt: skip


def value_of(element: Any | None) -> str:
    """An element's `w:val`; empty where it has none, or is not there."""
    return "" if element is None else (element.get(f"{W}val") or "")


@dataclass(frozen=True, slots=True)
class _Style:
    name: str
    base: str
    outline: str
    numbers: tuple[str, str] | None


class Styles:
    """The paragraph styles of a document, each with what it takes from those it stands on."""

    def __init__(self, tree: Any | None) -> None:
        self._styles: dict[str, _Style] = {}
        for element in () if tree is None else tree.iterfind(f"{W}style"):
            properties = element.find(f"{W}pPr")
            self._styles[element.get(f"{W}styleId", "")] = _Style(
                value_of(element.find(f"{W}name")).lower(),
                value_of(element.find(f"{W}basedOn")),
                "" if properties is None else value_of(properties.find(f"{W}outlineLvl")),
                numbers_of(properties),
            )
        self.has_title = False
        """Whether a title is above the headings: they stand one level lower then."""

    def _chain(self, style: str) -> list[_Style]:
        chain: list[_Style] = []
        while style in self._styles and len(chain) < MOST_BASES:
            chain.append(self._styles[style])
            style = chain[-1].base
        return chain

    def is_title(self, style: str) -> bool:
        """Whether it is the style of a document's title."""
        return any(one.name == "title" for one in self._chain(style))

    def level_of(self, properties: Any | None, style: str) -> int:
        """The level of a heading from 1; 0 for text."""
        own = "" if properties is None else value_of(properties.find(f"{W}outlineLvl"))
        if own.isdecimal():
            return int(own) + 1 + self.has_title if int(own) < MOST_LEVELS else 0
        for one in self._chain(style):
            if one.name == "title":
                return 1
            if named := _HEADING.fullmatch(one.name):
                return int(named[1]) + self.has_title
            if one.outline.isdecimal():
                return int(one.outline) + 1 + self.has_title if int(one.outline) < MOST_LEVELS else 0
        return 0

    def numbers_of(self, style: str) -> tuple[str, str] | None:
        """The list and the level in it that a style gives."""
        list_id, level = "", ""
        for one in self._chain(style):
            if one.numbers:
                list_id, level = list_id or one.numbers[0], level or one.numbers[1]
        return (list_id, level) if list_id else None


def numbers_of(properties: Any | None) -> tuple[str, str] | None:
    """The list and the level in it that a paragraph or a style names itself; each may be empty."""
    numbers = None if properties is None else properties.find(f"{W}numPr")
    if numbers is None:
        return None
    return value_of(numbers.find(f"{W}numId")), value_of(numbers.find(f"{W}ilvl"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list a paragraph stands."""

    depth: int
    label: str
    """As Word shows it, such as `3.`, `(b)` or `2.1`; empty for a mere mark."""

    @property
    def is_plain(self) -> bool:
        """Whether the label is one that Markdown has as well."""
        return bool(_PLAIN.fullmatch(self.label))


@dataclass(frozen=True, slots=True)
class _Level:
    form: str
    text: str
    start: int
    style: str


class Lists:
    """The lists of a document, and how far each has counted."""

    def __init__(self, tree: Any | None, styles: Styles) -> None:
        self._styles = styles
        self._levels: dict[str, dict[int, _Level]] = {}
        self._abstract: dict[str, str] = {}
        self._counts: dict[str, dict[int, int]] = {}
        if tree is None:
            return
        for element in tree.iterfind(f"{W}abstractNum"):
            self._levels[element.get(f"{W}abstractNumId", "")] = _levels(element.iterfind(f"{W}lvl"))
        for element in tree.iterfind(f"{W}num"):
            number, of = element.get(f"{W}numId", ""), value_of(element.find(f"{W}abstractNumId"))
            changed = _levels(element.iterfind(f"{W}lvlOverride/{W}lvl"))
            starts = {
                _int(one.get(f"{W}ilvl", ""), 0): _int(value_of(one.find(f"{W}startOverride")), 1)
                for one in element.iterfind(f"{W}lvlOverride")
                if one.find(f"{W}startOverride") is not None
            }
            if changed or starts:
                levels = self._levels.get(of, {}) | changed
                own = f"{of}/{number}"
                self._levels[own] = {
                    at: _Level(one.form, one.text, starts.get(at, one.start), one.style) for at, one in levels.items()
                }
                of = own
            self._abstract[number] = of

    def place_of(self, properties: Any | None, style: str) -> Place | None:
        """Where a paragraph stands, counted on; None where it is in no list. Every paragraph may be asked for once, in order."""
        own, inherited = numbers_of(properties), self._styles.numbers_of(style)
        list_id = (own and own[0]) or (inherited and inherited[0]) or ""
        of = self._abstract.get(list_id)
        if not list_id or list_id == "0" or of is None:
            return None
        levels = self._levels.get(of, {})
        named = next((at for at, one in levels.items() if one.style and one.style == style), None)
        told = (own and own[1]) or (inherited and inherited[1]) or ("" if named is None else str(named))
        depth = min(_int(told, 0), MOST_LEVELS - 1)
        return Place(depth, self._label(of, depth, levels))

    def _label(self, of: str, depth: int, levels: dict[int, _Level]) -> str:
        counts = self._counts.setdefault(of, {})
        level = levels.get(depth)
        start = level.start if level else 1
        counts[depth] = counts.get(depth, start - 1) + 1
        for deeper in [at for at in counts if at > depth]:
            del counts[deeper]
        if level is None or level.form in {"bullet", "none", ""}:
            return ""

        def number(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            other = levels.get(at)
            count = counts.get(at, other.start if other else 1)
            return _counted(count, other.form if other else "decimal")

        return _PLACEHOLDER.sub(number, level.text).strip()


def _levels(elements: Any) -> dict[int, _Level]:
    return {
        _int(one.get(f"{W}ilvl", ""), 0): _Level(
            value_of(one.find(f"{W}numFmt")) or "decimal",
            value_of(one.find(f"{W}lvlText"))[:100],
            _int(value_of(one.find(f"{W}start")), 1),
            value_of(one.find(f"{W}pStyle")),
        )
        for one in elements
    }


def _int(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else default


def _counted(count: int, form: str) -> str:
    """A count as its list shows it."""
    letters = form.removeprefix("upper").removeprefix("lower")
    if letters == "Letter" and count > 0:
        shown = chr(ord("a") + (count - 1) % 26) * min((count - 1) // 26 + 1, 20)
    elif letters == "Roman" and 0 < count < 4000:
        shown = ""
        for value, sign in _ROMAN:
            shown, count = shown + sign * (count // value), count % value
    else:
        return f"{count:02}" if form == "decimalZero" else str(count)
    return shown.upper() if form.startswith("upper") else shown
