"""The run book holds together: every finding of the doctor is explained, every page is in the index, every block is run."""

from __future__ import annotations

import re

from orchestrator.store.examination import NOTICES
from tests.docs_check import ROOT, split
from tests.operations.pages import FOLDER, RUN_BY

SOURCES = [ROOT / "orchestrator/doctor.py", *sorted((ROOT / "orchestrator/doctoring").glob("*.py"))]
INDEX = (FOLDER / "README.md").read_text("utf-8")


def explained() -> set[str]:
    """The findings in the first cells of the index's tables."""
    cells = re.findall(r"^\| (`[^|]*) \|", INDEX, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_finding_of_the_doctor_is_explained_and_no_other() -> None:
    named = {
        name
        for path in SOURCES
        for name in re.findall(r'(?:Finding|tried)\(\s*"([^"]+)"', path.read_text("utf-8"))
    }  # fmt: skip
    known = named | {one.name for one in NOTICES}
    assert {"blobs", "orphans", "workers", "invariants"} <= known
    assert explained() - {"I1", "I8"} == known


def test_every_page_is_in_the_index() -> None:
    pages = {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
    assert {name for name in re.findall(r"\]\(([\w-]+\.md)\)", INDEX)} == pages  # noqa: C416


def test_a_block_that_is_not_run_where_it_stands_names_the_test_that_runs_it() -> None:
    for path in sorted(FOLDER.glob("*.md")):
        for block in split(path)[0]:
            if block.mark.startswith("<!-- not run"):
                found = RUN_BY.search(block.mark)
                assert found, f"{path.name}:{block.line}"
                assert (ROOT / found[0].removesuffix(" runs it")).is_file()
