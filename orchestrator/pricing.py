"""What usage costs at a dated rate card. Pure, and in Decimal end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any, Final

from orchestrator.contracts import Usage
from orchestrator.errors import InvalidConfig

MILLION: Final = Decimal(1_000_000)
ZERO: Final = Decimal(0)
CHARGES: Final = ("charge", "rejected")
"""The kinds of transfers that a caller pays: for the answer, and for one of a cascade that was not accepted."""
HOUR_KEY: Final = "usd_per_hour"
QUANTUM: Final = Decimal("0.000000000001")
"""The last digit that the ledger stores: a millionth of a micro-dollar, so that no token's price is rounded away."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """The prices of one model from one day on, in US dollars.

    Token prices are per million tokens. `cached` is what a cached input token costs (the input price where a card does
    not say), `reasoning` what a reasoning token costs (the output price where a card does not say).
    """

    valid_from: date
    input: Decimal = ZERO
    cached: Decimal = ZERO
    output: Decimal = ZERO
    reasoning: Decimal = ZERO
    request: Decimal = ZERO
    image: Decimal = ZERO
    audio_second: Decimal = ZERO
    hour: Decimal = ZERO
    """What an hour of one worker process that serves the model costs; `usd_per_hour` in a file."""

    @property
    def is_free(self) -> bool:
        """Whether nothing on the card costs anything."""
        return not (self.hour or self.prices_jobs)

    @property
    def prices_jobs(self) -> bool:
        """Whether a job by itself costs something, whatever the machine's hour does."""
        return any(getattr(self, f.name) for f in fields(self) if f.name not in ("valid_from", "hour"))


def price(usage: Usage, card: RateCard) -> Decimal:
    """What `usage` costs in US dollars, exact to the ledger's last digit.

    Cached tokens are part of the input and reasoning tokens part of the output; each is counted once, at its own price.
    The hour is not in it: machine time is shared out when its interval closes.
    """
    fresh = usage.input_tokens - usage.cached_tokens
    spoken = usage.output_tokens - usage.reasoning_tokens
    tokens = (
        fresh * card.input
        + usage.cached_tokens * card.cached
        + spoken * card.output
        + usage.reasoning_tokens * card.reasoning
    )
    total = tokens / MILLION + card.request
    if usage.images:
        total += usage.images * card.image
    if usage.audio_seconds:
        total += usage.audio_seconds * card.audio_second
    return total.quantize(QUANTUM)


def card_on(cards: Sequence[RateCard], day: date, model: str) -> RateCard:
    """The card of `cards` that is in force on a day (UTC): the latest that began on or before it."""
    in_force = [card for card in cards if card.valid_from <= day]
    if not in_force:
        raise InvalidConfig(
            f"Model {model!r} has no price on {day}. Add a [[models.{model}.rates]] entry whose `from` is not later."
        )
    return max(in_force, key=lambda card: card.valid_from)


def card_from(row: Mapping[str, Any], model: str) -> RateCard:
    """A rate card from its TOML table; raises InvalidConfig that names the key and the remedy."""
    known = {f.name for f in fields(RateCard)} - {"valid_from"}
    where = f"[[models.{model}.rates]]"
    row = _with_hour(row, where)
    if unknown := set(row) - known - {"from"}:
        raise InvalidConfig(
            f"{where} has unknown keys {sorted(unknown)}. Known: from, {', '.join(sorted({*known, HOUR_KEY}))}."
        )
    valid_from = _day(row.get("from", date(2020, 1, 1)), f"{where} from")
    amounts = {key: _amount(row[key], f"{where} {key}") for key in known & set(row)}
    amounts.setdefault("cached", amounts.get("input", ZERO))
    amounts.setdefault("reasoning", amounts.get("output", ZERO))
    return RateCard(valid_from=valid_from, **amounts)


def _with_hour(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The table with the machine's price under its one inner name, `hour`, which files of old have too."""
    if HOUR_KEY not in row:
        return row
    if "hour" in row:
        raise InvalidConfig(f"{where} has both {HOUR_KEY} and hour, which mean the same: keep {HOUR_KEY}.")
    return {"hour" if key == HOUR_KEY else key: value for key, value in row.items()}


def _day(value: object, where: str) -> date:
    if isinstance(value, str):
        with suppress(ValueError):
            return date.fromisoformat(value)
    # A datetime is a date to Python, and cannot be compared with one.
    if type(value) is not date:
        raise InvalidConfig(f"{where} must be a date such as 2026-01-31; it is {value!r}.")
    return value


def _amount(value: object, where: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidConfig(f'{where} must be a string such as "0.15", so that no digit is lost; it is {value!r}.')
    try:
        amount = Decimal(value)
    except ArithmeticError as error:
        raise InvalidConfig(f"{where} is not a number: {value!r}.") from error
    if not amount.is_finite() or amount < 0 or amount > MILLION:
        raise InvalidConfig(f"{where} must lie between 0 and 1,000,000 US dollars; it is {value!r}.")
    return amount


def usd(amount: Decimal) -> str:
    """A sum of money as people read it: at least two decimals, no exponent, no digit lost."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"
