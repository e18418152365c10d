"""XLSX and its kin: a page a sheet, with the values that its program computed last."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import python_calamine

from orchestrator.documents.readers import ods
from orchestrator.documents.readers.container import Container
from orchestrator.documents.readers.sheets import shown, write_areas
from orchestrator.documents.readers.writing import Writer, clean, one_line, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

MOST_CELLS: Final = 12_000_000
"""From a sheet's first cell to its last, empty ones included: so many are held at once."""
ODS_PART: Final = "content.xml"
MOST_COLUMNS: Final = 16_384
MOST_NAME: Final = 200

_ROWS: Final = re.compile(rb"\sr=[\"'][A-Z]{0,3}(\d{1,7})[\"']")
_COLUMNS: Final = re.compile(rb"\sr=[\"']([A-Z]{1,3})\d")
_SPAN_BYTES: Final = 4 * 1024 * 1024
_PLACE_BYTES: Final = 32
"""More than a place takes, so that none is lost between two spans."""
_SHEET: Final = re.compile(r"xl/worksheets/[^/]+\.xml")


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The sheets of a workbook as pages, hidden ones too: the used areas of each as tables. One of OpenDocument has its own reader."""
    container = Container(data, limits)
    if ODS_PART in container:
        return ods.read(data, limits, within)
    container.check_sizes()
    for name in container.names:
        if _SHEET.fullmatch(name):
            _check_extent(container.read(name))
    writer = Writer(limits)
    try:
        with python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)) as workbook:
            pages = tuple(_pages(workbook, limits, writer))
    except python_calamine.PasswordError:
        raise Unreadable(
            "password_required", "It is locked with a password. Save it without one, and submit it again."
        ) from None
    except python_calamine.CalamineError as error:
        raise _broken(error) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how libraries in Rust end over a fault of their own
            raise
        raise _broken(error) from None
    return Reading("xlsx", pages, title=title_of(container.told_title()), notes=tuple(writer.notes))


def _broken(error: BaseException) -> Unreadable:
    return Unreadable("unreadable_file", f"The workbook is broken ({str(error)[:200]}). Save it anew in its program.")


def _pages(workbook: Any, limits: Limits, writer: Writer) -> list[Page]:
    """The sheets that have cells; charts and programs that stand in a workbook's list have none."""
    sheets = [one for one in workbook.sheets_metadata if one.typ == python_calamine.SheetTypeEnum.WorkSheet]
    if len(sheets) > limits.max_pages:
        raise Unreadable("too_many_pages", f"It has {len(sheets):,} sheets, at most {limits.max_pages:,}. Split it.")
    pages = []
    for number, sheet in enumerate(sheets, 1):
        name = one_line(clean(sheet.name))[:MOST_NAME]
        if sheet.visible != python_calamine.SheetVisibleEnum.Visible:
            writer.tell(f"The sheet {name!r} is hidden; it was read like the rest.")
        cells = workbook.get_sheet_by_name(sheet.name).iter_rows()
        rows = ([value if isinstance(value, str) else shown(value) for value in row] for row in cells)
        write_areas(rows, writer)
        pages.append(Page(number, writer.cut(), name=name))
    return pages


def _check_extent(sheet: bytes) -> None:
    """Refuse a sheet with a stray cell far away: all cells between would be held."""
    spans = [(start, start + _SPAN_BYTES + _PLACE_BYTES) for start in range(0, len(sheet), _SPAN_BYTES)]
    row = max((max(map(int, _ROWS.findall(sheet, *span)), default=1) for span in spans), default=1)
    column = 1
    if row * MOST_COLUMNS > MOST_CELLS:
        letters = set().union(*(_COLUMNS.findall(sheet, *span) for span in spans))
        column = max(map(_column, letters), default=1)
    if row * column > MOST_CELLS:
        raise Unreadable(
            "file_too_large",
            f"A sheet reaches to row {row:,} and column {column:,}, over {MOST_CELLS:,} cells. Delete stray cells far from "
            "the others, or split it.",
        )


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
