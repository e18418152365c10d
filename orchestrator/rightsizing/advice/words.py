"""Figures as people read them, in the sentences of advice and report. Pure."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Final

from orchestrator.rightsizing.evidence.facts import MONTH_DAYS

SIGNS: Final = {
    "labels": "are right by given labels",
    "agreement": "agree with the reference",
    "judge": "are right by the judge's verdict",
    "feedback": "are good by callers' feedback",
    "checks": "pass the checks",
}
"""What a share of quality counts, by its source: so many answers ..."""


def percent(share: float) -> str:
    """A share in percent, one digit after the point; what is not all is never shown as 100, and what is not nothing never as 0."""
    if 0.9995 <= share < 1:
        return ">99.9%"
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def money(usd: Decimal) -> str:
    """A sum in dollars: whole dollars from 1,000 on, cents from 1 on, else two digits that count."""
    sign, size = ("−" if usd < 0 else ""), abs(usd)
    if not size:
        return "$0"
    if size >= 1_000:
        return f"{sign}${size:,.0f}"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    places = max(2, 1 - size.adjusted())
    return f"{sign}${size:.{places}f}" if places <= 9 else f"{sign}<$0.00000001"


def between(low: str, high: str) -> str:
    """Two ends as one text, or one of them where both read the same."""
    return low if low == high else f"{low} to {high}"


def counted(number: int, noun: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def long_day(day: date) -> str:
    """A day as people write it."""
    return f"{day.day} {day:%B %Y}"


def wait_of(rows: float, rows_a_month: float) -> str:
    """How long so many rows take to come, in words."""
    if rows_a_month <= 0:
        return "no day, as long as no work comes"
    days = math.ceil(rows / rows_a_month * MONTH_DAYS)
    return counted(days, "day") if days <= 90 else counted(math.ceil(days / MONTH_DAYS), "month")
