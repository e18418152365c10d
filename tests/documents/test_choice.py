"""Which pages go to a model as pictures, and why."""

from __future__ import annotations

import pytest

from orchestrator.documents.choice import Policy, choose
from orchestrator.documents.reading import Block, Page, Scan
from orchestrator.tasks.definition import Reading

WORDS = (Block("Total 12.50"),)


def scan(confidence: float = 0.99, *, ink: float = 0.05, pictures: float = 0.0) -> Scan:
    """A page as it was measured."""
    return Scan(1_000_000, 0.0, ink=ink, confidence=confidence, engine="rapidocr", pictures=pictures)


@pytest.mark.parametrize(
    "page, policy, look, why",
    [
        (Page(1, WORDS), Policy(), False, "text layer"),
        (Page(1, WORDS, scan=scan(pictures=0.8)), Policy(), False, "text layer"),
        (Page(1, WORDS, scan=scan(pictures=0.8)), Policy(needs_eyes=True), True, "pictures take most of it"),
        (Page(1, WORDS, scan=scan(pictures=0.2)), Policy(needs_eyes=True), False, "text layer"),
        (Page(1, WORDS, "ocr", scan=scan(0.99)), Policy(), False, "0.99, at least 0.97"),
        (Page(1, WORDS, "ocr", scan=scan(0.96)), Policy(), True, "0.96, under the bound of 0.97"),
        (Page(1, WORDS, "ocr", scan=scan(0.96)), Policy(0.9), False, "at least 0.90"),
        (Page(1, WORDS, "ocr", scan=scan(0.99)), Policy(needs_eyes=True), True, "layout or pictures"),
        (Page(1, (), "ocr", scan=scan(0.0, ink=0.00001)), Policy(needs_eyes=True), False, "blank"),
        (Page(1, (), "none"), Policy(), True, "no text that could be read"),
        (Page(1, (), "none", scan=scan(0.0)), Policy(), True, "no text that could be read"),
    ],
)
def test_a_page_goes_where_its_reading_and_its_task_say(page: Page, policy: Policy, look: bool, why: str) -> None:
    chosen = choose(page, policy)
    assert chosen.look is look
    assert why in chosen.why


def test_the_bound_is_the_same_for_tasks_that_say_nothing() -> None:
    assert Policy().ocr_confidence == Reading().ocr_confidence
