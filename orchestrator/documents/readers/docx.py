"""DOCX: the text of a Word document with its structure, read from its XML.

Insertions that are tracked are text, deletions are not. Hidden text is text like any other, and told in a note. Notes, comments, headers
and footers follow the text as notes; pictures are the words that describe them.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.docx_runs import MATH_PARAGRAPH, Runs, chosen
from orchestrator.documents.readers.docx_styles import Lists, Styles, W, value_of
from orchestrator.documents.readers.flow import Cell, Flow
from orchestrator.documents.readers.writing import Writer, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

MAIN_PARTS: Final = ("word/document.xml",)

_WRAPPERS: Final = frozenset({f"{W}{name}" for name in ("ins", "moveTo", "customXml", "smartTag", "sdtContent")})
_NOTES: Final = {"footnotes": "footnote", "endnotes": "endnote"}


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The text of a Word document as one page; what lies within it (sheets, other documents) is not opened."""
    del within
    document = _Document(Container(data, limits))
    writer = Writer(limits)
    document.write(writer)
    return Reading("docx", (Page(1, writer.cut()),), title=title_of(document.title), notes=tuple(writer.notes))


class _Document:
    """One document while it is read."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._main = _main_part(container)
        self._relations = container.relations(self._main)
        self._styles = Styles(self._part("styles"))
        self._lists = Lists(self._part("numbering"), self._styles)
        self.runs = Runs()
        self.title = container.told_title()

    def _part(self, kind: str) -> Any | None:
        """The tree of a part that the document points at, by the kind of the relation."""
        name = next((target for of, target in self._relations.values() if of == kind), "")
        return self._container.optional_xml(name)

    def write(self, writer: Writer) -> None:
        """Write the whole document: its text, then its notes, comments, headers and footers."""
        tree = self._container.xml(self._main)
        body = tree.find(f"{W}body")
        if body is None:
            raise Unreadable("unreadable_file", "It is broken: it has no body. Save it anew in Word or LibreOffice.")
        self._styles.has_title = any(
            self._styles.is_title(value_of(style)) for style in body.iterfind(f"./{W}p/{W}pPr/{W}pStyle")
        )
        flow = Flow()
        self.runs.links = self._container.links(self._main)
        self.blocks(body, flow)
        self.runs.links = {}  # ids of other parts are of lists of their own
        for kind, of in _NOTES.items():
            self._add_notes(flow, kind, of)
        self._add_comments(flow)
        self._add_margins(flow)
        flow.write(writer)
        self._tell(writer)

    def _tell(self, writer: Writer) -> None:
        runs = self.runs
        if runs.has_changes:
            writer.tell("It has tracked changes: what was inserted was read, what was deleted was left out.")
        if runs.has_hidden:
            writer.tell("It has hidden text, which was read like the rest.")
        if runs.pictures:
            writer.tell(f"Its pictures ({runs.pictures}) were not looked at; the words that describe them were read.")
        if runs.charts:
            writer.tell(f"Its charts and diagrams ({runs.charts}) were not read.")

    def blocks(self, parent: Any, flow: Flow) -> None:
        """Add what stands in a body, a cell, a note or a text box."""
        for element in parent:
            tag = element.tag
            if tag == f"{W}p":
                self._paragraph(element, flow)
            elif tag == f"{W}tbl":
                self._table(element, flow)
            elif tag == f"{W}sdt":
                content = element.find(f"{W}sdtContent")
                if content is not None:
                    self.blocks(content, flow)
            elif tag in _WRAPPERS:
                self.runs.has_changes |= tag in {f"{W}ins", f"{W}moveTo"}
                self.blocks(element, flow)
            elif tag == MATH_PARAGRAPH:
                flow.paragraph(self.runs.text(element))
            elif (choice := chosen(element)) is not None:
                self.blocks(choice, flow)

    def _paragraph(self, paragraph: Any, flow: Flow) -> None:
        properties = paragraph.find(f"{W}pPr")
        style = value_of(None if properties is None else properties.find(f"{W}pStyle"))
        text = self.runs.text(paragraph).strip("\n")
        place = self._lists.place_of(properties, style) if text.strip() else None
        level = self._styles.level_of(properties, style)
        if level:
            self.title = self.title or (text if level == 1 else "")
            flow.heading(f"{place.label} {text}" if place and place.label else text, level)
        elif place:
            marker, words = ("-", place.label) if place.label and not place.is_plain else (place.label or "-", "")
            flow.item(f"{words} {text}" if words else text, place.depth, marker)
        else:
            flow.paragraph(text)
        self._boxes(flow)

    def _boxes(self, flow: Flow) -> None:
        """Add what hangs at a paragraph: its text boxes, and the words for its pictures."""
        boxes, self.runs.boxes = self.runs.boxes, []
        words, self.runs.words = self.runs.words, []
        for word in words:
            flow.picture(word)
        for box in boxes:
            self.blocks(box, flow)

    def _table(self, table: Any, flow: Flow) -> None:
        rows: list[list[Cell]] = []
        above: dict[int, Cell] = {}
        for row in _below(table, f"{W}tr"):
            if row.find(f"{W}trPr/{W}del") is not None:
                self.runs.has_changes = True
                continue
            line = [Cell(Flow()) for _ in range(_number(row, f"{W}trPr/{W}gridBefore", 0))]
            column = len(line)
            for element in _below(row, f"{W}tc"):
                cell = Cell(Flow(), _number(element, f"{W}tcPr/{W}gridSpan", 1))
                merge = element.find(f"{W}tcPr/{W}vMerge")
                if merge is not None and merge.get(f"{W}val", "continue") == "continue" and column in above:
                    cell.flow = above[column].flow
                else:
                    self.blocks(element, cell.flow)
                if merge is not None:
                    above[column] = cell
                else:
                    above.pop(column, None)
                line.append(cell)
                column += cell.columns
            rows.append(line)
        flow.table(rows)

    def _add_notes(self, flow: Flow, kind: str, of: str) -> None:
        """Add footnotes or endnotes, with the marks that stand in the text."""
        tree = self._part(kind)
        for element in () if tree is None else tree.iterfind(f"{W}{of}"):
            if element.get(f"{W}type") in {None, "normal"} and (text := self._flat(element)):
                flow.note(f"[^{of[0] if of == 'endnote' else ''}{element.get(f'{W}id', '')}]: {text}")

    def _add_comments(self, flow: Flow) -> None:
        tree = self._part("comments")
        for element in () if tree is None else tree.iterfind(f"{W}comment"):
            author = element.get(f"{W}author", "")
            if text := self._flat(element):
                flow.note(f"[Comment by {author}] {text}" if author else f"[Comment] {text}")

    def _add_margins(self, flow: Flow) -> None:
        """Add headers and footers, each once, without those that only count pages."""
        seen: set[str] = set()
        for kind in ("header", "footer"):
            for of, target in self._relations.values():
                tree = self._container.optional_xml(target) if of == kind else None
                text = "" if tree is None else self._flat(tree)
                if any(character.isalpha() for character in text) and text not in seen:
                    seen.add(text)
                    flow.note(f"[{kind.capitalize()}] {text}")

    def _flat(self, element: Any) -> str:
        beside = Flow()
        self.blocks(element, beside)
        return beside.flat()


def _main_part(container: Container) -> str:
    """The document's own part: that which the package points at, else the usual one."""
    pointed = (target for of, target in container.relations("").values() if of == "officeDocument")
    return next((name for name in (*pointed, *MAIN_PARTS) if name in container), MAIN_PARTS[0])


def _below(parent: Any, tag: str) -> list[Any]:
    """The rows of a table or the cells of a row, those in content controls and tracked changes included."""
    found: list[Any] = []
    for element in parent:
        if element.tag == tag:
            found.append(element)
        elif element.tag == f"{W}sdt" or element.tag in _WRAPPERS:
            found.extend(_below(element, tag))
    return found


def _number(element: Any, path: str, default: int) -> int:
    value = value_of(element.find(path))
    return min(int(value), 1_000) if value.isdecimal() and len(value) < 6 else default
