"""ODT: the text of an OpenDocument text with its structure, read from its XML.

Deleted text that is tracked lies apart from the rest, and is left out. Notes, comments, headers and footers follow the text as notes.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.flow import Cell, Flow
from orchestrator.documents.readers.odf import (
    DC,
    DRAW,
    OFFICE,
    STYLE,
    SVG,
    TABLE,
    TEXT,
    body_of,
    equation,
    span,
    told_title,
    words,
)
from orchestrator.documents.readers.writing import Writer, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

_NOT_READ: Final = frozenset(
    {f"{TEXT}tracked-changes", f"{TEXT}sequence-decls", f"{OFFICE}forms", f"{TEXT}index-title-template"}
)
_MARGINS: Final = {"header": "Header", "footer": "Footer"}


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The text of a document as one page."""
    del within
    document = _Document(Container(data, limits))
    writer = Writer(limits)
    document.write(writer)
    return Reading("odt", (Page(1, writer.cut()),), title=title_of(document.title), notes=tuple(writer.notes))


class _Document:
    """One document while it is read."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.title = told_title(container)
        self._pictures = 0
        self._notes: list[tuple[str, Any]] = []
        self._comments: list[Any] = []
        self._numbered = _numbered_lists(container)

    def write(self, writer: Writer) -> None:
        """Write the whole document."""
        body = body_of(self._container, "text")
        if body is None:
            raise Unreadable("unreadable_file", "It is broken: it has no text. Save it anew in LibreOffice.")
        flow = Flow()
        self._blocks(body, flow)
        for mark, note in self._notes:
            content = note.find(f"{TEXT}note-body")
            if content is not None and (text := self._flat(content)):
                flow.note(f"{mark}: {text}")
        for comment in self._comments:
            author = comment.findtext(f"{DC}creator") or ""
            if text := self._flat(comment):
                flow.note(f"[Comment by {author}] {text}" if author else f"[Comment] {text}")
        self._add_margins(flow)
        flow.write(writer)
        if body.find(f"{TEXT}tracked-changes") is not None:
            writer.tell("It has tracked changes: what was inserted was read, what was deleted was left out.")
        if self._pictures:
            writer.tell(f"Its pictures ({self._pictures}) were not looked at; the words that describe them were read.")

    def _blocks(self, parent: Any, flow: Flow) -> None:
        for element in parent:
            tag = element.tag
            if tag == f"{TEXT}h":
                self._paragraph(element, flow, level=int(_digits(element.get(f"{TEXT}outline-level", "1"))))
            elif tag == f"{TEXT}p":
                self._paragraph(element, flow)
            elif tag == f"{TEXT}list":
                self._list(element, flow, 0, "")
            elif tag == f"{TABLE}table":
                flow.table(self._rows(element))
            elif tag in {f"{DRAW}frame", f"{DRAW}custom-shape"}:
                self._frame(element, flow)
            elif tag not in _NOT_READ:
                self._blocks(element, flow)

    def _paragraph(self, paragraph: Any, flow: Flow, *, level: int = 0, item: tuple[int, str] | None = None) -> None:
        hanging: list[Any] = []
        marks = {
            one.get(f"{TEXT}id", ""): f"[^{one.findtext(f'{TEXT}note-citation') or '*'}]"
            for one in paragraph.iter(f"{TEXT}note")
        }
        equations = [text for frame in paragraph.iter(f"{DRAW}frame") if (text := equation(self._container, frame))]
        text = " ".join([words(paragraph, hanging, marks).strip(), *equations]).strip()
        if level or paragraph.get(f"{TEXT}style-name") == "Title":
            flow.heading(text, level or 1)
            self.title = self.title or text
        elif item:
            flow.item(text, *item)
        else:
            flow.paragraph(text)
        for one in hanging:
            if one.tag == f"{TEXT}note":
                self._notes.append((marks.get(one.get(f"{TEXT}id", ""), "[^*]"), one))
            elif one.tag == f"{OFFICE}annotation":
                self._comments.append(one)
            elif one.tag == f"{DRAW}frame" and not equation(self._container, one):
                self._frame(one, flow)

    def _list(self, element: Any, flow: Flow, depth: int, style: str) -> None:
        """Add a list with those in it; its marks are numbers where its style says so."""
        style = element.get(f"{TEXT}style-name", style)
        numbered = depth in self._numbered.get(style, ())
        count = 0
        for entry in element:
            if entry.tag not in {f"{TEXT}list-item", f"{TEXT}list-header"}:
                continue
            start = entry.get(f"{TEXT}start-value", "")
            count = int(start) if start.isdecimal() and len(start) < 7 else count + 1
            marker = f"{count}." if numbered else "-"
            for part in entry:
                if part.tag == f"{TEXT}list":
                    self._list(part, flow, depth + 1, style)
                elif part.tag == f"{TEXT}p":
                    self._paragraph(part, flow, item=(depth, marker))
                    marker = ""
                else:
                    self._blocks([part], flow)

    def _rows(self, table: Any) -> list[list[Cell]]:
        rows: list[list[Cell]] = []
        for row in _below(table, f"{TABLE}table-row"):
            line: list[Cell] = []
            for element in row.iterchildren(f"{TABLE}table-cell"):
                cell = Cell(Flow(), span(element, "number-columns-spanned"), span(element, "number-rows-spanned"))
                self._blocks(element, cell.flow)
                line.append(cell)
            rows.append(line)
        return rows

    def _frame(self, frame: Any, flow: Flow) -> None:
        """Add a text box, or the words for a picture."""
        box = frame.find(f"{DRAW}text-box")
        if frame.tag == f"{DRAW}custom-shape":
            box = frame
        if box is not None:
            self._blocks(box, flow)
        self._pictures += frame.find(f"{DRAW}image") is not None
        flow.picture(frame.findtext(f"{SVG}desc") or frame.findtext(f"{SVG}title") or "")

    def _add_margins(self, flow: Flow) -> None:
        """Add headers and footers, each once, without those that only count pages."""
        tree = self._container.optional_xml("styles.xml")
        seen: set[str] = set()
        for master in () if tree is None else tree.iter(f"{STYLE}master-page"):
            for element in master:
                kind = element.tag.rpartition("}")[2].partition("-")[0]
                text = self._flat(element) if kind in _MARGINS else ""
                if any(character.isalpha() for character in text) and text not in seen:
                    seen.add(text)
                    flow.note(f"[{_MARGINS[kind]}] {text}")

    def _flat(self, element: Any) -> str:
        beside = Flow()
        self._blocks([child for child in element if child.tag not in {f"{DC}creator", f"{DC}date"}], beside)
        return beside.flat()


def _below(table: Any, tag: str) -> list[Any]:
    """The rows of a table, those in groups and in its header included."""
    found: list[Any] = []
    for element in table:
        if element.tag == tag:
            found.append(element)
        elif element.tag in {f"{TABLE}table-header-rows", f"{TABLE}table-rows", f"{TABLE}table-row-group"}:
            found += _below(element, tag)
    return found


def _numbered_lists(container: Container) -> dict[str, frozenset[int]]:
    """Of each style of a list the depths at which it counts."""
    found: dict[str, frozenset[int]] = {}
    for part in ("styles.xml", "content.xml"):
        tree = container.optional_xml(part)
        for style in () if tree is None else tree.iter(f"{TEXT}list-style"):
            levels = style.iterfind(f"{TEXT}list-level-style-number")
            counted = [one for one in levels if one.get(f"{STYLE}num-format")]
            found[style.get(f"{STYLE}name", "")] = frozenset(
                int(_digits(one.get(f"{TEXT}level", "1"))) - 1 for one in counted
            )
    return found


def _digits(text: str) -> str:
    return text if text.isdecimal() and len(text) < 4 else "1"
