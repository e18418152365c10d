"""What machines did and cost, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from orchestrator.cli.display import money, note, out, table

Told = Callable[[Mapping[str, Any]], str]
BILL: Final[tuple[tuple[str, Told], ...]] = (
    ("workers", lambda one: str(one["workers"])),
    ("hours", lambda one: f"{one['hours']:.4g}"),
    ("bill", lambda one: money(one["bill_usd"])),
    ("jobs", lambda one: money(one["jobs_usd"])),
    ("idle", lambda one: money(one["idle_usd"])),
    ("loading", lambda one: money(one["loading_usd"])),
    ("idle share", lambda one: _share(one["idle_share"])),
    ("busy", lambda one: _share(one["busy_share"])),
)
TOKENS: Final[tuple[tuple[str, Told], ...]] = (
    ("read", lambda one: _short(one["tokens"]["prefill"])),
    ("cached", lambda one: _short(one["tokens"]["cached"])),
    ("written", lambda one: _short(one["tokens"]["decode"])),
    ("read/s", lambda one: _short(one["tokens_per_busy_second"]["prefill"])),
    ("written/s", lambda one: _short(one["tokens_per_busy_second"]["decode"])),
    ("a million", lambda one: money(one["usd_per_million_tokens"])),
    ("always busy", lambda one: money(one["usd_per_million_tokens_if_always_busy"])),
)
"""A figure a row and a model a column: a terminal of 80 columns holds the figures whole."""


def show_machines(models: Sequence[Mapping[str, Any]]) -> None:
    """Two tables: where the bill went, and what the tokens came to."""
    if not models:
        note(
            "No machine that is priced by the hour has run. Give a model `usd_per_hour` in its rates, and start a worker for it."
        )
        return
    names = [one["model"] for one in models]
    out.print("[italic]Where the bill went[/]")  # a table's own title is folded to its width
    bills = table("", "", *names, right=names)
    for what, told in BILL:
        bills.add_row(what, *(told(one) for one in models))
    out.print(bills)
    out.print("\n[italic]What a million tokens came to[/]")
    tokens = table("", "", *names, right=names)
    for what, told in TOKENS:
        tokens.add_row(what, *(told(one) for one in models))
    out.print(tokens)
    note(
        "Tokens a second are those of the time in which a request ran. `always busy` is what a million would have cost, had there been "
        "work for the whole time."
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def _short(count: float) -> str:
    """A count in four digits: 12.3M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if count >= size:
            return f"{count / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{count:.4g}"
