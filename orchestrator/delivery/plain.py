"""Texts of documents and models as one plain line: what could steer a terminal, or turn the order of letters round, is taken out. Pure."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from typing import Final

ELLIPSIS: Final = "…"
TURNERS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of text. Letters bring their own; these serve to make a name look like another one."""


def one_line(text: str, most: int) -> str:
    """A text in one line of at most so many characters; a longer one keeps both its ends."""
    if len(text) > 2 * most:
        text = f"{text[:most]}{text[-most:]}"  # so that a huge one is not looked at whole
    line = " ".join("".join(map(_shown, text)).split())
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}{ELLIPSIS}{line[-tail:] if tail else ''}"


def _shown(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() else " "
    if char in TURNERS:
        return ""
    return " " if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} else char


def count(number: int) -> str:
    """A number as people read it."""
    return f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """A share in percent; what is not nothing is never shown as 0, and what is not all never as 100."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}%" if percent % 100 else f"{percent:.0f}%"


def money(amount: Decimal) -> str:
    """A sum in dollars: cents where it is a dollar or more, else two digits that count."""
    if not amount:
        return "$0.00"
    if amount >= 1:
        return f"${amount:,.2f}"
    places = max(2, 1 - amount.adjusted())
    return "<$0.000001" if places > 7 else f"${amount:.{places}f}"


def duration(seconds: float) -> str:
    """A time as people say it, in one piece wherever a line ends."""
    number, unit = _time(seconds)
    return f"{number}\u00a0{unit}"


def _time(seconds: float) -> tuple[str, str]:
    if seconds < 1:
        return (f"{seconds * 1_000:.0f}" if seconds >= 0.001 or not seconds else "<1"), "ms"
    if seconds < 100:
        return f"{seconds:.1f}", "s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f}", "min"
    hours = seconds / 3_600
    return (f"{hours:.1f}", "h") if hours < 72 else (f"{hours / 24:,.1f}", "days")
