"""ODS: a page a sheet, with the values that its program computed last."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.odf import OFFICE, STYLE, TABLE, TEXT, body_of, told_title, words
from orchestrator.documents.readers.sheets import shown, write_areas
from orchestrator.documents.readers.writing import Writer, clean, one_line, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

MOST_ROWS: Final = 1_048_576
MOST_COLUMNS: Final = 16_384
MOST_NAME: Final = 200
MOST_DATE: Final = 10
"""Of a date without a time."""

_NUMBER: Final = re.compile(r"[+-]?\d{1,400}(?:\.\d{0,400})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_CELLS: Final = (f"{TABLE}table-cell", f"{TABLE}covered-table-cell")
_ROW: Final = f"{TABLE}table-row"
_TABLE_PROPERTIES: Final = f"{STYLE}table-properties"


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The sheets of a workbook as pages, hidden ones too: the used areas of each as tables."""
    del within
    container = Container(data, limits)
    body = body_of(container, "spreadsheet")
    if body is None:
        raise Unreadable("unreadable_file", "It is broken: it has no sheets. Save it anew in LibreOffice.")
    sheets = list(body.iterfind(f"{TABLE}table"))
    if len(sheets) > limits.max_pages:
        raise Unreadable("too_many_pages", f"It has {len(sheets):,} sheets, at most {limits.max_pages:,}. Split it.")
    hidden = _hidden_styles(body.getroottree().getroot())
    writer = Writer(limits)
    pages = []
    for number, sheet in enumerate(sheets, 1):
        name = one_line(clean(sheet.get(f"{TABLE}name", "")))[:MOST_NAME]
        if sheet.get(f"{TABLE}style-name") in hidden:
            writer.tell(f"The sheet {name!r} is hidden; it was read like the rest.")
        write_areas(_rows(sheet), writer)
        pages.append(Page(number, writer.cut(), name=name))
    return Reading("ods", tuple(pages), title=title_of(told_title(container)), notes=tuple(writer.notes))


def _hidden_styles(root: Any) -> set[str]:
    return {
        one.getparent().get(f"{STYLE}name", "")
        for one in root.iter(_TABLE_PROPERTIES)
        if one.get(f"{TABLE}display") == "false"
    }


def _rows(sheet: Any) -> Iterator[list[str]]:
    """The rows of a sheet. One that is repeated comes so often: whoever takes them stops when it is too much. Empty ones come once."""
    for row in sheet.iter(_ROW):
        line = _line(row)
        yield from itertools.repeat(line, _repeated(row, "number-rows-repeated", MOST_ROWS) if line else 1)


def _line(row: Any) -> list[str]:
    """The values of a row without the empty ones at its end."""
    line: list[str] = []
    empty = 0
    for cell in row.iterchildren(*_CELLS):
        text = _value(cell) if cell.tag == _CELLS[0] else ""
        again = _repeated(cell, "number-columns-repeated", MOST_COLUMNS)
        if not text:
            empty += again
            continue
        line += [""] * min(empty, MOST_COLUMNS)
        empty = 0
        line += [text] * again
        if len(line) > MOST_COLUMNS:
            raise Unreadable(
                "unreadable_file", f"A row has over {MOST_COLUMNS:,} columns. Save it anew in LibreOffice."
            )
    return line


def _value(cell: Any) -> str:
    """A cell's value: numbers and dates plainly; with a currency or as a share as they are shown, since that is part of them."""
    kind, date = cell.get(f"{OFFICE}value-type", ""), str(cell.get(f"{OFFICE}date-value", ""))
    if kind == "date" and date:
        return date[:MOST_DATE] if date.endswith("T00:00:00") else date.replace("T", " ")
    value = str(cell.get(f"{OFFICE}value", ""))
    if kind == "float" and _NUMBER.fullmatch(value):
        return shown(float(value))
    return "\n".join(words(paragraph).strip() for paragraph in cell.iterchildren(f"{TEXT}p"))


def _repeated(element: Any, name: str, most: int) -> int:
    value = element.get(f"{TABLE}{name}", "1")
    return min(int(value), most) if value.isdecimal() and 0 < len(value) < 9 else 1
