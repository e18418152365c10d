"""Figures of facts as the page says them. Pure."""

from __future__ import annotations

from typing import Final

from orchestrator.rightsizing.advice.words import between, money, percent
from orchestrator.rightsizing.evidence.facts import Amount, Interval, Quality

DASH: Final = "–"


def share_of(quality: Quality | None) -> str:
    """A quality with its interval, where it has one."""
    if quality is None:
        return DASH
    low, high = percent(quality.low), percent(quality.high)
    return percent(quality.value) if low == high else f"{percent(quality.value)} ({between(low, high)})"


def sum_of(amount: Amount | None) -> str:
    """A sum with its interval, where it has one."""
    if amount is None:
        return DASH
    low, high = money(amount.low_usd), money(amount.high_usd)
    return money(amount.usd) if low == high else f"{money(amount.usd)} ({between(low, high)})"


def shares(interval: Interval | None) -> str:
    """An interval of shares."""
    return DASH if interval is None else between(percent(interval.low), percent(interval.high))


def points(interval: Interval | None) -> str:
    """By how many points of a hundred something is higher or lower."""
    if interval is None:
        return DASH
    return f"{between(*(f'{100 * end:+.1f}'.replace('-', '−') for end in (interval.low, interval.high)))} points"


def seconds(value: float | None) -> str:
    """A time in the unit that fits."""
    if value is None:
        return DASH
    if value < 1:
        return f"{1_000 * value:.3g} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"
