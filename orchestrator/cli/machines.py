"""What machines did and cost, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.display import money, note, out, table


def show_machines(models: Sequence[Mapping[str, Any]]) -> None:
    """Two tables: where the bill went, and what the tokens came to."""
    if not models:
        note(
            "No machine that is priced by the hour has run. Give a model `usd_per_hour` in its rates, and start a worker for it."
        )
        return
    bills = table("Where the bill went", "model", "workers", "hours", "bill", "jobs", "idle", "loading", "idle share",
                  "busy", right=("workers", "hours", "bill", "jobs", "idle", "loading", "idle share", "busy"))  # fmt: skip
    for one in models:
        bills.add_row(
            one["model"], str(one["workers"]), f"{one['hours']:.4g}", money(one["bill_usd"]), money(one["jobs_usd"]),
            money(one["idle_usd"]), money(one["loading_usd"]), _share(one["idle_share"]), _share(one["busy_share"]),
        )  # fmt: skip
    out.print(bills)
    columns = ("read", "cached", "written", "read/s", "written/s", "a million", "always busy")
    tokens = table("\nWhat a million tokens came to", "model", *columns, right=columns)
    for one in models:
        count, pace = one["tokens"], one["tokens_per_busy_second"]
        tokens.add_row(
            one["model"], _short(count["prefill"]), _short(count["cached"]), _short(count["decode"]), _short(pace["prefill"]),
            _short(pace["decode"]), money(one["usd_per_million_tokens"]), money(one["usd_per_million_tokens_if_always_busy"]),
        )  # fmt: skip
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
