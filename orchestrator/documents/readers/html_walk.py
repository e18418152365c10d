"""Goes through the tree of a page, element by element, without recursion: however deep it is, it takes no stack."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from selectolax.lexbor import LexborNode

from orchestrator.documents.readers.flow import Cell, Flow
from orchestrator.documents.readers.writing import linked, one_line

MOST_TABLES: Final = 12
"""Tables within tables; deeper ones are taken for mere arrangement."""

_NOT_READ: Final = frozenset({
    "script", "style", "template", "head", "iframe", "object", "embed", "audio", "video", "canvas", "annotation", "annotation-xml",
    "datalist", "desc", "metadata", "defs",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "noscript", "ol",
    "optgroup", "option", "p", "search", "section", "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_LISTS: Final = frozenset({"ul", "ol", "menu", "dir"})
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_SHOWN_INPUTS: Final = frozenset(
    {"", "text", "number", "date", "email", "tel", "url", "search", "time", "month", "submit", "button"}
)
_HIDDEN_STYLE: Final = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Place:
    """A table that is open: where its rows go, and what was open around it."""

    outer: Flow
    rows: list[list[Cell]] = field(default_factory=list)
    layout: bool = False
    lists: list[int] = field(default_factory=list)
    marker: str | None = None
    caption: Flow = field(default_factory=Flow)


class Walk:
    """Collects the pieces of a page."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.title = ""
        self.hidden = 0
        """Elements that were left out since the page hides them."""
        self._here = self.flow
        self._line: list[str] = []
        self._lists: list[int] = []
        """Of each open list the number of its next item, or -1 where its items have none."""
        self._marker: str | None = None
        self._heading = 0
        self._tables: list[_Place] = []
        self._too_deep = 0
        self._links: list[tuple[str, int]] = []
        self._pictures: list[str] = []

    def through(self, root: LexborNode) -> None:
        """Read everything below an element."""
        node = root.first_child
        open_nodes: list[tuple[LexborNode, str]] = []
        while node is not None or open_nodes:
            if node is None:
                node, tag = open_nodes.pop()
                self._leave(tag)
                node = node.next
                continue
            tag = node.tag or ""
            if tag == "-text":
                self._line.append(node.text_content or "")
            elif node.is_element_node and self._enter(node, tag):
                open_nodes.append((node, tag))
                node = node.first_child
                continue
            node = node.next
        self._end_line()

    def _enter(self, node: LexborNode, tag: str) -> bool:
        """Whether to go into an element; what begins with it begins here."""
        if tag == "head":
            titled = node.css_first("title")
            self.title = titled.text() if titled else ""
        if tag in _NOT_READ:
            return False
        attributes = node.attributes
        if _is_hidden(tag, attributes):
            self.hidden += bool(node.text(deep=True).strip())
            return False
        if tag == "pre":
            self._end_line()
            self._here.code(_preformatted(node))
            return False
        if tag in _BLOCKS or tag in _HEADINGS or "-" in tag:
            self._begin(tag, attributes)
        elif tag == "br":
            self._line.append("\0")
        elif tag == "img":
            self._pictures.append(attributes.get("alt") or "")
        elif tag == "input" and (attributes.get("type") or "").lower() in _SHOWN_INPUTS:
            self._line.append(f" {attributes.get('value') or ''} ")
        elif tag == "a":
            self._links.append((attributes.get("href") or "", len(self._line)))
        return True

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> None:
        """Begin a block: what was collected before it is a paragraph of its own."""
        self._end_line()
        if tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag in _LISTS:
            self._lists.append(_start(attributes.get("start")) if tag == "ol" else -1)
        elif tag == "li":
            self._begin_item()
        elif tag == "dd":
            self._marker = "-"
        elif tag == "table" and len(self._tables) == MOST_TABLES:
            self._too_deep += 1
        elif self._too_deep:
            pass  # its rows and cells are taken for what stands in them
        elif tag == "table":
            layout = (attributes.get("role") or "").lower() in {"presentation", "none"}
            self._tables.append(_Place(self._here, layout=layout, lists=self._lists, marker=self._marker))
            self._lists, self._marker = [], None
        elif self._tables and tag == "tr":
            self._tables[-1].rows.append([])
        elif self._tables and tag in {"td", "th"}:
            place = self._tables[-1]
            if not place.rows:
                place.rows.append([])
            cell = Cell(Flow(), _span(attributes.get("colspan"), 1), _span(attributes.get("rowspan"), 1))
            place.rows[-1].append(cell)
            self._here = cell.flow
        elif self._tables and tag == "caption":
            self._here = self._tables[-1].caption

    def _begin_item(self) -> None:
        self._marker = "-"
        if self._lists and self._lists[-1] >= 0:
            self._marker = f"{self._lists[-1]}."
            self._lists[-1] += 1

    def _leave(self, tag: str) -> None:
        """End what began with an element."""
        if tag == "a":
            self._end_link()
        if not (tag in _BLOCKS or tag in _HEADINGS or "-" in tag):
            return
        self._end_line()
        if tag in _HEADINGS:
            self._heading = 0
        elif tag in _LISTS and self._lists:
            self._lists.pop()
            self._marker = "" if self._lists else None
        elif tag in {"li", "dd"}:
            self._marker = None
        elif tag == "table" and self._too_deep:
            self._too_deep -= 1
        elif tag == "table" and self._tables:
            self._end_table()
        elif self._tables and not self._too_deep and tag in {"td", "th", "caption"}:
            self._here = self._tables[-1].outer

    def _end_table(self) -> None:
        place = self._tables.pop()
        self._here, self._lists = place.outer, place.lists
        self._marker = None if place.marker is None else ""
        self._here.pieces.extend(place.caption.pieces)
        self._here.table([row for row in place.rows if row], layout=place.layout)

    def _end_link(self) -> None:
        target, start = self._links.pop() if self._links else ("", 0)
        words = "".join(self._line[start:])
        shown = linked(words.replace("\0", " "), target)
        if shown:
            self._line[start:] = [" " if words[0].isspace() else "", shown, " " if words[-1].isspace() else ""]

    def _end_line(self) -> None:
        """Make a piece of what was collected: a heading, an item of a list, or a paragraph."""
        text = "\n".join(map(one_line, "".join(self._line).split("\0"))).strip() if self._line else ""
        self._line.clear()
        self._links = [(target, 0) for target, _ in self._links]
        if text:
            if self._heading:
                self._here.heading(text, self._heading)
            elif self._marker is not None:
                self._here.item(text, max(len(self._lists) - 1, 0), self._marker)
                self._marker = ""
            else:
                self._here.paragraph(text)
        for words in self._pictures:
            self._here.picture(words)
        self._pictures.clear()


def _is_hidden(tag: str, attributes: dict[str, str | None]) -> bool:
    if not attributes:
        return False
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":
        return True
    style = attributes.get("style")
    return bool(style and _HIDDEN_STYLE.search(style)) or (tag == "input" and attributes.get("type") == "hidden")


def _preformatted(node: LexborNode) -> str:
    for line_end in node.css("br"):
        line_end.replace_with("\n")
    return node.text(deep=True)


def _span(value: str | None, default: int) -> int:
    return int(value) if value and value.strip().isdecimal() and len(value) < 6 else default


def _start(value: str | None) -> int:
    return int(value) if value and value.strip().isdecimal() and len(value) < 8 else 1
