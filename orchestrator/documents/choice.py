"""Whether a page goes to a model as text or as a picture: by how it was read, and what its task needs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.documents.reading import Page

MOST_PICTURES: Final = 0.5
"""A page of which pictures take more than this share says little by its words alone."""
BLANK: Final = 0.0002
"""The share of dark pixels under which a page is empty."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a task says of reading."""

    ocr_confidence: float = 0.97
    """On 18 scans with transcripts (receipts, old book pages) the pages under it hold over half of all words that are missed, and are three in ten."""
    needs_eyes: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a page goes to a model, and why."""

    look: bool
    why: str


def choose(page: Page, policy: Policy) -> Chosen:
    """The choice for one page."""
    scan = page.scan
    if page.source == "text":
        if policy.needs_eyes and scan is not None and scan.pictures > MOST_PICTURES:
            return Chosen(True, "pictures take most of it, and the task needs layout or pictures")
        return Chosen(False, "it has a text layer")
    if scan is not None and scan.ink < BLANK and not page.blocks:
        return Chosen(False, "it is blank")
    if policy.needs_eyes:
        return Chosen(True, "it is a scan, and the task needs layout or pictures")
    if page.source == "none" or scan is None:
        return Chosen(True, "it has no text that could be read")
    if scan.confidence < policy.ocr_confidence:
        return Chosen(
            True,
            f"it was read with a confidence of {scan.confidence:.2f}, under the bound of {policy.ocr_confidence:.2f}",
        )
    return Chosen(
        False, f"it was read with a confidence of {scan.confidence:.2f}, at least {policy.ocr_confidence:.2f}"
    )
