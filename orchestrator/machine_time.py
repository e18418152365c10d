"""What a machine's time costs, and how it is shared among the jobs that it served. Pure, in whole numbers end to end.

Amounts are whole micro-dollars (`_micro`) or whole units of the ledger's last digit, a millionth of those (`_units`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Final

MICRO: Final = 10**6
"""Micro-dollars in a dollar, units in a micro-dollar, and microseconds in a second."""
HOUR_S: Final = 3600
WEIGHT_DIGITS: Final = 6
"""Decimals of a weight that count."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What one token of each kind takes of the machine's time, against the others."""

    prefill: Decimal
    cached: Decimal
    decode: Decimal


@dataclass(frozen=True, slots=True)
class Served:
    """The tokens of one attempt; `cached` are part of `input`."""

    input: int
    cached: int
    output: int


@dataclass(frozen=True, slots=True)
class Span:
    """A closed span of a machine's time. `carried` is what was metered before it: US dollars an hour, times seconds."""

    usd_per_hour: Decimal
    carried: Decimal
    seconds: Decimal
    busy_s: Decimal
    """Of those, the seconds with at least one request in the engine."""


@dataclass(frozen=True, slots=True)
class Books:
    """A span's bill, and who bears what of it: `shares_units` has one share for each attempt; their sum is `used_micro`."""

    bill_micro: int
    used_micro: int
    shares_units: Sequence[int]

    @property
    def idle_micro(self) -> int:
        """What no attempt bears."""
        return self.bill_micro - self.used_micro


def bill_micro(usd_per_hour: Decimal, carried: Decimal, seconds: Decimal) -> int:
    """The bill of a span in micro-dollars, so that the bills of spans that follow each other add up.

    Cumulative rounding: the bill is the rounded sum of all that was metered by its end, less that by its beginning.
    """
    before = Fraction(carried)
    return _rounded_micro(before + Fraction(usd_per_hour) * Fraction(seconds)) - _rounded_micro(before)


def _rounded_micro(metered: Fraction) -> int:
    """Half of a micro-dollar goes up; exact, as no division is ever carried out in decimals."""
    return floor(metered * MICRO / HOUR_S + Fraction(1, 2))


def close(span: Span, served: Sequence[Served], weights: Weights) -> Books:
    """The books of a span: the busy part of its bill is shared among what it served by weight, the rest is idle.

    A span that served no token is idle as a whole.
    """
    bill = bill_micro(span.usd_per_hour, span.carried, span.seconds)
    weighed = [weight(one, weights) for one in served]
    if not span.seconds or not any(weighed):
        return Books(bill, 0, [0] * len(served))
    used = floor(bill * Fraction(min(span.busy_s, span.seconds)) / Fraction(span.seconds))
    return Books(bill, used, shares(used * MICRO, weighed))


def weight(served: Served, weights: Weights) -> int:
    """What one attempt weighs, as a whole number: its tokens by kind, each at its weight."""
    fresh = served.input - served.cached
    return (
        fresh * _scaled(weights.prefill)
        + served.cached * _scaled(weights.cached)
        + served.output * _scaled(weights.decode)
    )


def _scaled(one: Decimal) -> int:
    return int(one.scaleb(WEIGHT_DIGITS).to_integral_value())


def shares(units: int, weighed: Sequence[int]) -> list[int]:
    """`units` shared by weight, none lost: the sum of the shares is `units`, and none is a whole unit off its quota.

    The largest remainder method (Hamilton's; Balinski and Young, Fair Representation, 1982): everybody gets the whole part
    of the quota, and what is left goes, one by one, to the largest remainders; of equal ones the first is served first.
    """
    total = sum(weighed)
    if not total:
        raise ValueError("Nothing weighs anything: there is nobody to share with.")
    parts = [divmod(units * one, total) for one in weighed]
    given = [whole for whole, _ in parts]
    left = units - sum(given)
    for place in sorted(range(len(parts)), key=lambda at: -parts[at][1])[:left]:
        given[place] += 1
    return given


def usd_of_micro(micro: int) -> Decimal:
    """Micro-dollars as US dollars."""
    return Decimal(micro).scaleb(-6)


def usd_of_units(units: int) -> Decimal:
    """Units of the ledger's last digit as US dollars."""
    return Decimal(units).scaleb(-12)


def is_due(*, age_s: float, busy_s: float, attempts: int, interval_s: float, most_attempts: int) -> bool:
    """Whether an open interval is to end and the next to begin.

    An interval in which requests run but none has ended stays open: it has nobody yet who could bear it.
    """
    if attempts >= most_attempts:
        return True
    return age_s >= interval_s and (attempts > 0 or not busy_s)


@dataclass(frozen=True, slots=True)
class Use:
    """What one model's machines did, summed over closed intervals."""

    seconds: float
    busy_s: float
    bill_usd: Decimal
    busy_usd: Decimal
    """The part of the bill that fell on busy time, whoever bears it."""
    prefill_tokens: int
    cached_tokens: int
    decode_tokens: int

    @property
    def tokens(self) -> int:
        """All that were read and written."""
        return self.prefill_tokens + self.cached_tokens + self.decode_tokens

    @property
    def million_usd(self) -> Decimal | None:
        """The price of a million tokens as it really was: the whole bill over all tokens."""
        return _per_million(self.bill_usd, self.tokens)

    @property
    def million_busy_usd(self) -> Decimal | None:
        """The price of a million tokens, had the machine always been as busy as it was while it had something to do."""
        return _per_million(self.busy_usd, self.tokens)

    def per_second(self, tokens: int) -> float:
        """Tokens in a busy second."""
        return tokens / self.busy_s if self.busy_s else 0.0


def _per_million(amount_usd: Decimal, tokens: int) -> Decimal | None:
    return (amount_usd * MICRO / tokens).quantize(Decimal("0.000001")) if tokens else None
