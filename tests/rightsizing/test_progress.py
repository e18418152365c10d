"""What a task's trainings took."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from orchestrator.pricing import RateCard
from orchestrator.rightsizing.evidence.progress import training_usd

DAY = date(2026, 11, 1)


def took(hour: str, *seconds: float | None) -> Decimal:
    model = SimpleNamespace(card_on=lambda day: RateCard(day, hour=Decimal(hour)))
    seen: Any = SimpleNamespace(
        context=SimpleNamespace(config=SimpleNamespace(fleet=SimpleNamespace(by_name={"small": model})))
    )
    rows: Any = [SimpleNamespace(seconds=one, day=DAY) for one in seconds]
    assert training_usd(seen, None, rows) == training_usd(seen, "another", rows) == 0
    return training_usd(seen, "small", rows)


def test_trainings_are_priced_at_the_hour_of_the_machine_that_serves_the_specialist() -> None:
    assert took("3.6", 400.0, 100.0) == Decimal("0.5")
    assert took("0", 400.0) == 0
    assert took("3.6", None) == took("3.6") == 0
