"""What a model reads of a document: its blocks one after the other, with marks of pages, and where each came to stand. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.tasks.document import Block, Document
from orchestrator.tasks.sources import Place


def text_of(document: Document) -> tuple[str, list[Place]]:
    """The text of a document and its places in it. Where there are several pages each begins with a mark."""
    return laid_out(document.blocks, marked=len({block.page for block in document.blocks}) > 1)


def laid_out(blocks: Iterable[Block], *, marked: bool) -> tuple[str, list[Place]]:
    """The same of some blocks."""
    parts: list[str] = []
    places: list[Place] = []
    at, page = 0, None
    for block in blocks:
        lead = "\n\n" if parts else ""
        if marked and block.page != page:
            lead += f"[Page {block.page}]\n"
        page = block.page
        parts.append(lead + block.text)
        start = at + len(lead)
        at = start + len(block.text)
        places.append(Place(start, at, block.page, block.box))
    return "".join(parts), places


def written(places: Sequence[Place]) -> list[list[Any]]:
    """Places as JSON."""
    return [[place.start, place.end, place.page, place.box] for place in places]


def read(raw: Sequence[Sequence[Any]]) -> list[Place]:
    """Places from JSON that was written here."""
    return [
        Place(start, end, page, None if box is None else (box[0], box[1], box[2], box[3]))
        for start, end, page, box in raw
    ]
