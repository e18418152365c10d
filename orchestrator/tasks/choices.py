"""How each page of a document is read, as it was chosen where it was read, with what it costs either way. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from orchestrator.contracts import Usage
from orchestrator.media.encoded import Encoded
from orchestrator.media.picture import MAX_IMAGE_PIXELS, PIXELS_A_TOKEN_SIDE, tokens_of
from orchestrator.pricing import RateCard, price
from orchestrator.requests import CHARS_PER_TOKEN
from orchestrator.tasks.document import Document, PageRead

MOST_TOLD: Final = 500
"""Pages of one document whose choices are kept one by one."""
PICTURE_TOKENS: Final = MAX_IMAGE_PIXELS // PIXELS_A_TOKEN_SIDE**2
"""Of a page that was not drawn: what a model reads of a picture of the usual size."""
BASE64: Final = "base64,"


def choices(document: Document, text: RateCard | None, eyes: RateCard | None) -> list[dict[str, Any]]:
    """For each page that is no plain text: how it goes to a model, why, and what it costs as text and as a picture; None where no model is told of.

    The prices are those of reading the page, its input tokens, by the cards of the models that read text and pictures by default.
    """
    drawn = dict(document.pictures)
    return [
        {
            "page": page.number, "goes_as": "picture" if page.number in drawn else "text", "why": page.why,
            "confidence": page.confidence, "text_usd": _as_text(page, text), "picture_usd": _as_picture(drawn.get(page.number), eyes),
        }
        for page in (document.pages or ())
        if page.source != "text" or page.number in drawn
    ][:MOST_TOLD]  # fmt: skip


def sums(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was chosen of how many pages, and what sending all of them as pictures would have cost more."""
    kept = [
        one
        for one in told
        if one["goes_as"] == "text" and one["text_usd"] is not None and one["picture_usd"] is not None
    ]
    spared = sum((Decimal(one["picture_usd"]) - Decimal(one["text_usd"]) for one in kept), start=Decimal(0))
    looked_at = sum(one["goes_as"] == "picture" for one in told)
    return {"looked_at": looked_at, "read_here": len(told) - looked_at, "spared_usd": f"{spared:f}"}


def _as_text(page: PageRead, card: RateCard | None) -> str | None:
    return None if card is None else f"{price(Usage(-(-page.chars // CHARS_PER_TOKEN)), card):f}"


def _as_picture(url: str | None, card: RateCard | None) -> str | None:
    if card is None:
        return None
    tokens = PICTURE_TOKENS if url is None else tokens_of(Encoded(url, url.find(BASE64) + len(BASE64)))
    return f"{price(Usage(tokens, images=1), card):f}"
