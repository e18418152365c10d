"""Days as documents write them: in digits in any usual order, and with the month's name in a few languages. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from typing import Final

_NAMES: Final = (
    "jan januar january janvier enero gennaio januari stycznia janeiro janv ene gen sty",
    "feb februar february fevrier febrero febbraio februari lutego fevereiro fevr lut fev",
    "mar marz march mars marzo maart marca marco mrz maerz mrt",
    "apr april avril abril aprile kwietnia avr abr kwi",
    "may mai mayo maggio mei maja maio mag",
    "jun juni june juin junio giugno czerwca junho giu cze",
    "jul juli july juillet julio luglio lipca julho juil lug lip",
    "aug august aout agosto augustus sierpnia ago sie",
    "sep sept september septembre septiembre settembre wrzesnia setembro set wrz",
    "oct okt oktober october octobre octubre ottobre pazdziernika outubro ott paz out",
    "nov november novembre noviembre listopada novembro lis",
    "dec dez december dezember decembre diciembre dicembre grudnia dezembro dic gru",
)  # fmt: skip
MONTHS: Final = {name: month for month, names in enumerate(_NAMES, 1) for name in names.split()}
"""Names without accents, in English, German, French, Spanish, Italian, Dutch, Polish and Portuguese."""

_YEAR_FIRST: Final = re.compile(r"(?<!\d)(\d{4})[-./年\s]{1,2}(\d{1,2})[-./月\s]{1,2}(\d{1,2})(?!\d)")
_YEAR_LAST: Final = re.compile(r"(?<!\d)(\d{1,2})\s?[-./\s]\s?(\d{1,2})\s?[-./\s]\s?(\d{4}|\d{2})(?!\d)")
_NAMED: Final = re.compile(
    r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|\.)?[\s-]{0,2}(?:de |of )?([^\W\d_]{3,12})\.?[\s,-]{0,3}(?:de |of )?(\d{4}|\d{2})(?!\d)"
)
_NAME_FIRST: Final = re.compile(r"([^\W\d_]{3,12})\.?[\s-]{0,2}(\d{1,2})(?:st|nd|rd|th)?[\s,-]{1,3}(\d{4})(?!\d)")
_SOLID: Final = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)")


def days_in(text: str) -> Iterator[tuple[date, int, int]]:
    """Every day that a text may name, with where it stands; one that can be read in two ways comes twice. `text` has no accents."""
    for found in _YEAR_FIRST.finditer(text):
        yield from _made(found, found[1], found[2], found[3])
    for found in _YEAR_LAST.finditer(text):
        yield from _made(found, found[3], found[2], found[1])
        yield from _made(found, found[3], found[1], found[2])
    for found in _NAMED.finditer(text):
        if month := MONTHS.get(found[2].casefold()):
            yield from _made(found, found[3], str(month), found[1])
    for found in _NAME_FIRST.finditer(text):
        if month := MONTHS.get(found[1].casefold()):
            yield from _made(found, found[3], str(month), found[2])
    for found in _SOLID.finditer(text):
        yield from _made(found, found[1], found[2], found[3])


def _made(found: re.Match[str], year: str, month: str, day: str) -> Iterator[tuple[date, int, int]]:
    full = int(year) if len(year) == 4 else 2000 + int(year) if int(year) < 70 else 1900 + int(year)
    with suppress(ValueError):  # the 31st of February, or a number that is no day
        yield date(full, int(month), int(day)), found.start(), found.end()
