"""Headers and footers that come back page after page, marked as notes so that they do not break the text. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from orchestrator.documents.reading import Block

_EDGE: Final = 0.12
"""How far from the upper or lower edge of a page they stand, as a share of it."""
_LONGEST: Final = 200
_DIGITS: Final = re.compile(r"\d+|\b[ivxlc]+\b")
_MARKS: Final = re.compile(r"^(?:#{1,6}|-)\s+", re.MULTILINE)
_SHARE: Final = 0.3
"""Of the pages, on which they must stand: at least two, and no more than `_ENOUGH`."""
_ENOUGH: Final = 3


def noted(pages: Sequence[Sequence[Block]]) -> list[tuple[Block, ...]]:
    """The blocks of the pages, with those that come back on many as notes."""
    if len(pages) < 2:
        return [tuple(blocks) for blocks in pages]
    seen = Counter(key for blocks in pages for key in {_key(blocks[index]) for index in _at_edges(blocks)})
    least = min(max(2, _SHARE * len(pages)), _ENOUGH)
    told = []
    for blocks in pages:
        edges = {index for index in _at_edges(blocks) if seen[_key(blocks[index])] >= least}
        if len(edges) == len(blocks):  # nothing else is on the page: it is what the page says
            edges = set()
        told.append(tuple(_note(block) if index in edges else block for index, block in enumerate(blocks)))
    return told


def _at_edges(blocks: Sequence[Block]) -> Iterator[int]:
    for index, block in enumerate(blocks):
        box = block.box
        if box and len(block.text) <= _LONGEST and block.kind != "table" and (box[3] < _EDGE or box[1] > 1 - _EDGE):
            yield index


def _key(block: Block) -> str:
    """What a header has in common on all pages: its words, whatever the number, at its edge."""
    upper = block.box is not None and block.box[3] < _EDGE
    return f"{upper}{_DIGITS.sub('#', _MARKS.sub('', block.text).lower())}"


def _note(block: Block) -> Block:
    return replace(block, text=_MARKS.sub("", block.text), kind="note", level=0)
