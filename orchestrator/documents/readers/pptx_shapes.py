"""The shapes of a slide: text, tables, charts, diagrams, pictures, and groups of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.equations import M, linear
from orchestrator.documents.readers.flow import Cell, Flow
from orchestrator.documents.reading import Box

A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P: Final = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"

_C: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DGM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_TITLES: Final = frozenset({"title", "ctrTitle"})
_NOT_READ: Final = frozenset({"sldNum", "dt", "hdr"})
"""Placeholders that stand on every slide and say nothing of it: its number, the date."""
_LISTED: Final = frozenset({"", "body", "obj"})

Relations = Mapping[str, tuple[str, str]]


class Shapes:
    """Reads the shapes of one slide after the other."""

    def __init__(self, container: Container, size: tuple[str, str] | None) -> None:
        self._container = container
        width, height = (_number(one) for one in size or ("", ""))
        self._size = (width, height) if width > 0 and height > 0 else None
        self.pictures = 0
        self.first_title = ""
        """Of the first slide that has one."""

    def read(self, tree: Any, flow: Flow, relations: Relations) -> None:
        """Add the shapes of a slide: its title first, the rest as they lie on each other."""
        shapes = list(_below(tree))
        titles = [shape for shape in shapes if _holder(shape) in _TITLES]
        for shape in titles:
            text = " ".join(_text(one) for one in shape.iterfind(f"{P}txBody/{A}p")).strip()
            self.first_title = self.first_title or text
            flow.heading(text, 1, self._box(shape))
        for shape in shapes:
            if not any(shape is title for title in titles):
                self._shape(shape, flow, relations)

    def _shape(self, shape: Any, flow: Flow, relations: Relations) -> None:
        if shape.tag == f"{P}sp" and _holder(shape) not in _NOT_READ:
            body = shape.find(f"{P}txBody")
            if body is not None:
                _add_text(body, flow, self._box(shape), is_listed=_holder(shape) in _LISTED)
        elif shape.tag == f"{P}pic":
            self.pictures += 1
            flow.picture(_words(shape), self._box(shape))
        elif shape.tag == f"{P}graphicFrame":
            self._frame(shape, flow, relations)

    def _frame(self, frame: Any, flow: Flow, relations: Relations) -> None:
        for table in frame.iter(f"{A}tbl"):
            flow.table(_rows(table), box=self._box(frame))
        for chart in frame.iter(f"{_C}chart"):
            tree = self._container.optional_xml(relations.get(chart.get(f"{R}id", ""), ("", ""))[1])
            if tree is not None:
                _add_chart(tree, flow)
        for diagram in frame.iter(f"{_DGM}relIds"):
            tree = self._container.optional_xml(relations.get(diagram.get(f"{R}dm", ""), ("", ""))[1])
            for point in () if tree is None else tree.iter(f"{_DGM}pt"):
                flow.item(" ".join(_text(one) for one in point.iter(f"{A}p")).strip())

    def _box(self, shape: Any) -> Box | None:
        """Where a shape stands; None within a group, and where its layout says so."""
        if self._size is None or shape.getparent().tag == f"{P}grpSp":
            return None
        place = shape.find(f"{P}spPr/{A}xfrm")
        place = shape.find(f"{P}xfrm") if place is None else place
        offset, extent = (None, None) if place is None else (place.find(f"{A}off"), place.find(f"{A}ext"))
        if offset is None or extent is None:
            return None
        left, top = _number(offset.get("x")), _number(offset.get("y"))
        right, bottom = left + _number(extent.get("cx")), top + _number(extent.get("cy"))
        wide, high = self._size
        return (_share(left, wide), _share(top, high), _share(right, wide), _share(bottom, high))


def _below(tree: Any) -> list[Any]:
    """The shapes of a tree, those in groups included, each in the newest form that it has."""
    found: list[Any] = []
    for shape in tree:
        if shape.tag == f"{P}grpSp":
            found += _below(shape)
        elif shape.tag == f"{_MC}AlternateContent":
            choice = shape.find(f"{_MC}Choice")
            choice = shape.find(f"{_MC}Fallback") if choice is None else choice
            found += [] if choice is None else _below(choice)
        elif shape.tag in {f"{P}sp", f"{P}pic", f"{P}graphicFrame"}:
            found.append(shape)
    return found


def _holder(shape: Any) -> str | None:
    """What a placeholder is for; None for a shape that is none."""
    holder = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph") if shape.tag == f"{P}sp" else None
    return None if holder is None else holder.get("type", "")


def _words(shape: Any) -> str:
    properties = shape.find(f"{P}nvPicPr/{P}cNvPr")
    return "" if properties is None else (properties.get("descr") or "")


def _text(paragraph: Any) -> str:
    """The words of a paragraph."""
    out: list[str] = []
    for element in paragraph.iter(f"{A}t", f"{A}br", f"{A}tab", f"{M}oMath"):
        if element.tag == f"{A}t":
            out.append(element.text or "")
        elif element.tag == f"{M}oMath":
            out.append(linear(element))
        else:
            out.append("\n" if element.tag == f"{A}br" else "\t")
    return "".join(out).replace("\v", "\n")


def _add_text(body: Any, flow: Flow, box: Box | None, *, is_listed: bool) -> None:
    """Add a text body: the points of a placeholder as a list, other text as paragraphs."""
    paragraphs = [(one, text) for one in body.iterfind(f"{A}p") if (text := _text(one).strip())]
    count = 0
    for paragraph, text in paragraphs:
        properties = paragraph.find(f"{A}pPr")
        level = "0" if properties is None else properties.get("lvl", "0")
        numbered = properties is not None and properties.find(f"{A}buAutoNum") is not None
        marked = numbered or (properties is not None and properties.find(f"{A}buChar") is not None)
        plain = properties is not None and properties.find(f"{A}buNone") is not None
        count = count + 1 if numbered else 0
        if marked or (is_listed and len(paragraphs) > 1 and not plain):
            depth = int(level) if len(level) == 1 and level.isdecimal() else 0
            flow.item(text, depth, f"{count}." if numbered else "-", box)
        else:
            flow.paragraph(text, box)


def _rows(table: Any) -> list[list[Cell]]:
    """The rows of a table; cells that are merged into another are left out."""
    rows: list[list[Cell]] = []
    for row in table.iterfind(f"{A}tr"):
        line: list[Cell] = []
        for element in row.iterfind(f"{A}tc"):
            if element.get("hMerge") in {"1", "true"} or element.get("vMerge") in {"1", "true"}:
                continue
            cell = Cell(Flow(), _span(element.get("gridSpan")), _span(element.get("rowSpan")))
            for paragraph in element.iter(f"{A}p"):
                cell.flow.paragraph(_text(paragraph))
            line.append(cell)
        rows.append(line)
    return rows


def _add_chart(tree: Any, flow: Flow) -> None:
    """Add a chart as a table: a row a category, a column a series."""
    title = tree.find(f"{_C}chart/{_C}title")
    if title is not None:
        flow.paragraph(" ".join(_text(one) for one in title.iter(f"{A}p")))
    series = list(tree.iter(f"{_C}ser"))
    names: dict[int, str] = {}
    values: list[dict[int, str]] = []
    for one in series:
        names |= _points(one, "cat", "xVal")
        values.append(_points(one, "val", "yVal"))
    heads = [" ".join(value.text or "" for value in one.iterfind(f"{_C}tx//{_C}v")) for one in series]
    places = sorted({place for column in (names, *values) for place in column})
    rows = [["", *heads], *([names.get(place, ""), *(column.get(place, "") for column in values)] for place in places)]
    if series:
        flow.table([[_cell(text) for text in row] for row in rows])


def _points(series: Any, *kinds: str) -> dict[int, str]:
    """The values that a chart keeps of its sheet, by their places."""
    found: dict[int, str] = {}
    for kind in kinds:
        for point in series.iterfind(f"{_C}{kind}//{_C}pt"):
            place = point.get("idx", "")
            if place.isdecimal() and len(place) < 8:
                found[int(place)] = point.findtext(f"{_C}v") or ""
    return found


def _cell(text: str) -> Cell:
    flow = Flow()
    flow.paragraph(text)
    return Cell(flow)


def _span(value: str | None) -> int:
    return int(value) if value and value.isdecimal() and len(value) < 5 else 1


def _number(value: str | None) -> float:
    try:
        number = float(value or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _share(place: float, of: float) -> float:
    return min(max(place / of, 0.0), 1.0)
