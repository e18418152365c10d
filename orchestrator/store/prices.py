"""Rate cards as they were imported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.pricing import RateCard

CARDS: Final = text("SELECT content -> :model FROM config_versions WHERE id = :version AND kind = 'prices'")


def cards(session: Session, version: int, model: str) -> Sequence[RateCard]:
    """The dated rate cards of a model in one version of the prices; none if the version does not know the model."""
    rows = session.execute(CARDS, {"version": version, "model": model}).scalar_one_or_none() or []
    return [
        RateCard(
            valid_from=date.fromisoformat(row["valid_from"]),
            **{name: Decimal(amount) for name, amount in row.items() if name != "valid_from"},
        )
        for row in rows
    ]
