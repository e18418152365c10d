"""What each page of a document costs as text and as a picture, and how it goes to a model."""

from __future__ import annotations

import base64
from datetime import date
from decimal import Decimal
from typing import Any

from orchestrator.pricing import RateCard
from orchestrator.tasks.choices import PICTURE_TOKENS, choices, sums
from orchestrator.tasks.document import document_from

DAY = date(2026, 1, 1)
TEXT = RateCard(DAY, input=Decimal(1))
EYES = RateCard(DAY, input=Decimal(10), image=Decimal("0.001"))
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (560).to_bytes(4, "big") + (280).to_bytes(4, "big") + b"\x08\x02\0\0\0"


def document(*pages: dict[str, Any], pictures: list[Any] | None = None) -> Any:
    """A checked document with these pages."""
    told = {"name": "a.pdf", "hash": "0" * 64, "kind": "pdf", "bytes": 1, "pages": list(pages), "blocks": []}
    return document_from({**told, "pictures": pictures or []})


def test_pages_that_are_no_plain_text_tell_both_prices_and_why() -> None:
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    found = choices(
        document(
            {"number": 1, "source": "text"},
            {"number": 2, "source": "ocr", "confidence": 0.99, "why": "sure", "chars": 4_000},
            {"number": 3, "source": "none", "confidence": 0.4, "why": "unsure", "chars": 400},
            pictures=[[3, url]],
        ),
        TEXT,
        EYES,
    )
    assert [(one["page"], one["goes_as"], one["why"]) for one in found] == [
        (2, "text", "sure"),
        (3, "picture", "unsure"),
    ]
    assert Decimal(found[0]["text_usd"]) == Decimal("0.001")
    assert Decimal(found[0]["picture_usd"]) == Decimal("0.001") + PICTURE_TOKENS * Decimal("0.00001")
    assert Decimal(found[1]["text_usd"]) == Decimal("0.0001")
    assert Decimal(found[1]["picture_usd"]) == Decimal("0.001") + (20 * 10 + 2) * Decimal("0.00001")
    spared = Decimal(found[0]["picture_usd"]) - Decimal("0.001")
    assert sums(found) == {"looked_at": 1, "read_here": 1, "spared_usd": f"{spared:f}"}


def test_where_no_model_sees_there_is_no_price_and_nothing_is_spared() -> None:
    found = choices(document({"number": 1, "source": "ocr", "confidence": 0.99, "chars": 10}), TEXT, None)
    assert found[0]["picture_usd"] is None
    assert sums(found)["spared_usd"] == "0"
