"""A long document as pieces: parted where it is parted itself, at headings, pages, blocks, and within a block only where nothing else is left. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from orchestrator.tasks.document import Block
from orchestrator.tasks.measure import fitting, size_of

MOST_PIECES: Final = 2_000
_SEAMS: Final = (re.compile(r"\n\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?。！？])\s"), re.compile(r"\s"))
_LEAST: Final = 0.5
"""A piece is at least so full before it ends at a better place."""


def pieces_of(blocks: Sequence[Block], most: int, overlap: int = 0) -> list[list[Block]]:
    """The blocks in groups of at most such a size each (`measure.size_of`), in their order, none torn that need not be.

    A group ends at the best seam near its end: before a heading (the higher the better), at the end of a page, else between two
    blocks. Each group begins with the last blocks of the one before, up to `overlap`.
    """
    small = [part for block in blocks for part in _parts(block, most)]
    found: list[list[Block]] = []
    first = 0
    while first < len(small):
        end = _end(small, first, most)
        found.append(small[_with_overlap(small, first, overlap) if found else first : end])
        first = end
    return found


def _end(blocks: Sequence[Block], first: int, most: int) -> int:
    """Where a group that begins at `first` ends."""
    size, last = 0, first
    while last < len(blocks) and (last == first or size + _size(blocks[last]) <= most):
        size += _size(blocks[last])
        last += 1
    if last == len(blocks):
        return last
    best, best_worth, so_far = last, 0.0, 0
    for place in range(first, last):
        so_far += _size(blocks[place])
        worth = _seam(blocks[place], blocks[place + 1]) if so_far >= _LEAST * size else 0.0
        if worth >= best_worth and worth > 0:
            best, best_worth = place + 1, worth
    return best


def _seam(before: Block, after: Block) -> float:
    """How good a place between two blocks is to end a piece."""
    heading = (8 - min(max(after.level, 1), 6)) if after.kind == "heading" else 0
    return heading + (1.5 if before.page != after.page else 0.0)


def _with_overlap(blocks: Sequence[Block], first: int, overlap: int) -> int:
    size, place = 0, first
    while place > 0 and size + _size(blocks[place - 1]) <= overlap:
        place -= 1
        size += _size(blocks[place])
    return place


def _size(block: Block) -> int:
    return size_of(block.text) + 2


def _parts(block: Block, most: int) -> Iterator[Block]:
    """A block, in parts where it is too long by itself; a table keeps its head in each."""
    if _size(block) <= most:
        yield block
        return
    head = ""
    if block.kind == "table":
        lines = block.text.split("\n")
        head = (
            "\n".join(lines[:2]) + "\n" if len(lines) > 2 and size_of(lines[0]) + size_of(lines[1]) < most // 2 else ""
        )
    text = block.text[len(head) :]
    room = max(1, most - 2 - size_of(head))
    while text:
        fits = fitting(text, room)
        cut = fits if fits == len(text) else _cut(text, fits)
        yield replace(block, text=head + text[:cut].strip("\n"))
        text = text[cut:].lstrip("\n")


def _cut(text: str, room: int) -> int:
    """Where a text of more than `room` characters is cut: at the last good place in its second half."""
    for seam in _SEAMS:
        places = [found.end() for found in seam.finditer(text, int(_LEAST * room), room)]
        if places:
            return places[-1]
    return room
