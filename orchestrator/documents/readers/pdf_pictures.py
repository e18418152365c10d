"""Pictures on pages that have a text layer: a letterhead, a stamp or a scanned slip may say what the text does not.

Only in short documents, such as letters and invoices, and only pictures in which letters show at a glance: to read a picture takes as long
as to read a hundred pages. The figures of a long document are left to whoever looks at its pages.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pypdfium2

from orchestrator.documents.readers import pdf_render
from orchestrator.documents.readers.pdf_drawings import Picture
from orchestrator.documents.readers.pdf_page import Draft
from orchestrator.documents.reading import Block, Limits, Page, Unreadable

_MOST_PAGES: Final = 8
_MOST_PICTURES: Final = 12
_LEAST_SHARE: Final = 0.004
"""Of its page: smaller pictures are rules, bullets and icons."""
_LEAST_PX: Final = 20
_WRITTEN_OVER: Final = 0.1
"""A picture with so much text over it is a background, or a scan whose text is there."""
_LEAST_SURE: Final = 0.7
_DPI: Final = 200
_A_PICTURE_S: Final = 1.0
"""What a picture is taken to cost before one was read."""


def with_pictures_read(
    document: pypdfium2.PdfDocument, drafts: Sequence[Draft], pages: list[Page], limits: Limits, until: float
) -> list[Page]:
    """The pages of a short document, with what their pictures say as blocks of their own."""
    wanted = [(index, picture) for index, draft in enumerate(drafts) for picture in _telling(draft)]
    if not wanted or len(drafts) > _MOST_PAGES:
        return pages
    try:
        from orchestrator.documents.readers import scan, scan_measure
    except ImportError:  # without the reader of scans there is the text layer
        return pages
    told = list(pages)
    seen: dict[tuple[object, ...], str] = {}
    longest = _A_PICTURE_S
    for index, picture in wanted[:_MOST_PICTURES]:
        begun = time.monotonic()
        if begun + 2 * longest > until:
            break
        key = (
            picture.wide_px,
            picture.high_px,
            round(picture.left),
            round(picture.top),
        )  # a letterhead comes back on each page
        if key not in seen:
            seen[key] = _text(document, drafts[index], picture, limits, until, (scan, scan_measure))
            longest = max(longest, time.monotonic() - begun)
        frame = drafts[index].frame
        if seen[key] and frame:
            box = frame.share(picture.left, picture.top, picture.right, picture.bottom)
            told[index] = _put(told[index], Block(seen[key], "picture", 0, box))
    return told


def _telling(draft: Draft) -> list[Picture]:
    """Pictures of a page that may have text of their own."""
    frame = draft.frame
    if frame is None or not draft.worth.sound or draft.worth.scanned:
        return []
    whole = frame.width * frame.height
    return [
        picture
        for picture in draft.pictures
        if picture.area(frame) >= _LEAST_SHARE * whole
        and min(picture.wide_px, picture.high_px) >= _LEAST_PX
        and _written_over(draft, picture) < _WRITTEN_OVER * picture.area(frame)
    ]


def _written_over(draft: Draft, picture: Picture) -> float:
    """How much of a picture lies under the text of the page, in square points."""
    return sum(
        max(0.0, min(piece.u1, picture.right) - max(piece.u0, picture.left))
        * max(0.0, min(piece.v1, picture.bottom) - max(piece.v0, picture.top))
        for piece in draft.pieces
        if piece.turns == 0
    )


def _text(
    document: pypdfium2.PdfDocument,
    draft: Draft,
    picture: Picture,
    limits: Limits,
    until: float,
    readers: tuple[Any, Any],
) -> str:
    """What a picture says; nothing where no letters show in it."""
    scan, scan_measure = readers
    part = (picture.left, picture.top, picture.right, picture.bottom)
    try:
        drawn = pdf_render.drawn(document, draft.number, limits, until, dpi=_DPI, part=part)
        if not scan_measure.look(scan_measure.gray_of(drawn)).letter_px:
            return ""
        page = scan.read_page(drawn, limits, number=draft.number)
    except Unreadable:  # a picture that cannot be drawn or read is none that says something
        return ""
    return page.text if page.scan and page.scan.confidence >= _LEAST_SURE else ""


def _put(page: Page, block: Block) -> Page:
    """A page with one more block, before the first that begins below it."""
    at = next(
        (index for index, one in enumerate(page.blocks) if one.box and block.box and one.box[1] > block.box[3]),
        len(page.blocks),
    )
    return replace(page, blocks=(*page.blocks[:at], block, *page.blocks[at:]))
