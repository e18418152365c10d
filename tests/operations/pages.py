"""The pages of the run book, and their blocks by the heading under which they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.docs_check import HEADING, ROOT, Block, split

FOLDER: Final = ROOT / "docs/operations"
RUN_BY: Final = re.compile(r"tests/operations/\w+\.py runs it")


def blocks_under(page: str, heading: str) -> list[Block]:
    """The blocks of a page that stand directly under a heading."""
    path = FOLDER / page
    blocks, prose = split(path)
    titles = [(number, found["title"]) for number, line in prose if (found := HEADING.match(line))]
    starts = [number for number, title in titles if title == heading]
    assert len(starts) == 1, f"{page} has {len(starts)} headings {heading!r}"
    end = min((number for number, _ in titles if number > starts[0]), default=10**9)
    return [block for block in blocks if starts[0] < block.line < end]


def run_elsewhere(test: str) -> Iterator[tuple[Path, int]]:
    """The blocks of all pages that say that a test of this name runs them."""
    for path in sorted(FOLDER.glob("*.md")):
        for block in split(path)[0]:
            if test in block.mark and RUN_BY.search(block.mark):
                yield path, block.line
