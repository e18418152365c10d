"""Regular expressions of texts that the API takes. They only describe: each text is checked where it is read."""

from __future__ import annotations

from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_DAYS: Final = 30


def up_to(most: int) -> str:
    """A whole number from 1 to `most`, without zeros before it."""
    digits = str(most)
    kinds = [f"[1-9][0-9]{{{length - 1}}}" for length in range(1, len(digits))]
    for place, digit in enumerate(digits):
        least, rest = int(place == 0), len(digits) - place - 1
        if int(digit) > least:
            kinds.append(f"{digits[:place]}[{least}-{int(digit) - 1}][0-9]{{{rest}}}")
    return f"({'|'.join([*kinds, digits])})"


def window(most_days: int = MOST_DAYS) -> str:
    """A length of time, such as `24h`, of so many days at most."""
    kinds = [f"{up_to(most_days * _UNITS['d'] // seconds)}{unit}" for unit, seconds in _UNITS.items()]
    return f"^({'|'.join(kinds)})$"


MONEY: Final = r"^(1000000(\.0{1,12})?|[0-9]{1,6}(\.[0-9]{1,12})?)$"
"""US dollars up to a million."""
NAME: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""Of a tenant or project."""
WEB: Final = r"^https?://"
DAY: Final = r"^[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$"
"""Of all days those that every month has; the others are taken too."""


def keys(known: tuple[str, ...], most: int) -> str:
    """Some of the known keys, separated by commas."""
    one = f"({'|'.join(known)})"
    return f"^{one}(,{one}){{0,{most - 1}}}$"
