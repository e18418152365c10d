"""Puts what was measured into a rightsize.toml; its comments, its order and everything else stay as they are."""

from __future__ import annotations

import secrets
import shutil
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from orchestrator import fleet
from orchestrator.errors import InvalidConfig
from orchestrator.pricing import HOUR_KEY


def write_suggestions(path: Path, model: str, limits: Mapping[str, float], rates: Mapping[str, Decimal]) -> None:
    """Write limits and a rate card of a model into a file, which is replaced whole or not at all.

    Raises InvalidConfig where the file cannot be read or written, or would not be a fleet any more.
    """
    target = path.resolve()  # what a link leads to, not the link
    try:
        text = with_suggestions(target.read_text("utf-8"), model, limits, rates, datetime.now(UTC).date())
        fleet.parse(tomllib.loads(text), str(path))
        _replace(target, text)
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write {path}: {error.strerror}. Mend that, or write the figures in by hand."
        ) from error


def with_suggestions(
    text: str, model: str, limits: Mapping[str, float], rates: Mapping[str, Decimal], today: date
) -> str:
    """The text of a rightsize.toml with new limits of a model and a rate card from `today` on; earlier cards stay."""
    try:
        document = tomlkit.parse(text)
        table: Any = document["models"][model]
        for name, value in limits.items():
            if table.get(name) != value:
                table[name] = value
        if rates:
            _put_card(table, {name: f"{amount:f}" for name, amount in rates.items()}, today)
        return tomlkit.dumps(document)
    except (TOMLKitError, KeyError, TypeError) as error:
        raise InvalidConfig(
            f"The table [models.{model}] cannot be changed without harm to the rest ({error}): write the figures in by hand."
        ) from error


def _put_card(table: Any, rates: Mapping[str, str], today: date) -> None:
    """Put the new prices over those that hold today: what was not measured, such as an image, keeps its price."""
    cards = table.get("rates")
    card = next((one for one in cards if _from(one) == today), None)
    if card is None:
        card = _copy(
            max((one for one in cards if _from(one) <= today), key=_from, default={}), today, isinstance(cards, AoT)
        )
        cards.append(card)
    # Requests or tokens pay for the hour, and not both.
    for name in ("input", "output") if "request" in rates else ("request",):
        card.pop(name, None)
    if "hour" in rates:
        card.pop("hour", None)
    for name, amount in rates.items():
        card[HOUR_KEY if name == "hour" else name] = amount


def _copy(holds: Any, today: date, has_tables: bool) -> Any:
    card = tomlkit.table() if has_tables else tomlkit.inline_table()
    card.add("from", today)
    for name, amount in holds.items():
        if name != "from":
            card.add(name, str(amount))
    return card


def _from(card: Any) -> date:
    """The day from which a card holds; a card without one holds since ever."""
    value = card.get("from", date.min)
    return date.fromisoformat(value) if isinstance(value, str) else value


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        temporary.write_text(text, "utf-8")
        shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
