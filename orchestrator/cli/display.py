"""What people see: notes on standard error, tables on standard output, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, Literal

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.again import again
from orchestrator.pricing import usd

PIPED_COLUMNS: Final = 400
"""How wide tables may be where no terminal shows them: a program that reads them must find each id in one piece."""


class _Screen(Console):
    """A console that leaves a broken pipe to `ending`, and does not fold what no terminal shows."""

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's size; without one it is wide, unless COLUMNS says how wide."""
        found = super().size
        if self.is_terminal or self._width is not None:
            return found
        return ConsoleDimensions(PIPED_COLUMNS, found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        Console.size.fset(self, new_size)  # type: ignore[attr-defined]

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - Rich calls this while it handles the error


out = _Screen(highlight=False, soft_wrap=False)
err = _Screen(stderr=True, highlight=False)


def note(text: str) -> None:
    """Say something to the person, beside the output. Where nobody can hear it, the work goes on all the same."""
    with suppress(OSError):
        err.print(text, style="dim", markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Say what went wrong and what to do."""
    err.print("[bold red]error[/] ", end="")
    err.print(text, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def money(value: str | Decimal | None) -> str:
    """A sum as people read it, exact."""
    return "" if value is None else usd(Decimal(value))


class Rows(Table):
    """A table whose texts are shown as they are: what stands in square brackets is never taken for markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; a cell that is to be styled is a `Text`."""
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(title: str, *columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Rows:
    """An empty table; columns in `right` are aligned to the right, those in `whole` are never folded."""
    made = Rows(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        side: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=side, overflow="fold", no_wrap=column in whole)
    return made


def show_batch(batch: Mapping[str, Any]) -> None:
    """A batch: status, counts and cost by tier."""
    counts, ours = batch["request_counts"], batch["rightsize"]
    out.print(
        f"[bold]{batch['id']}[/]  {batch['status']}  {counts['completed']} of {counts['total']} done, {counts['failed']} failed"
    )
    rows = table("", "tier", "planned", "completed", "failed", "cost", right=("planned", "completed", "failed", "cost"))
    for tier, row in sorted(ours["tiers"].items()):
        rows.add_row(
            tier, str(row.get("planned", "")), str(row["completed"]), str(row["failed"]), money(row["cost_usd"])
        )
    if ours["tiers"]:
        rows.add_section()
        rows.add_row(
            "all", str(counts["total"]), str(counts["completed"]), str(counts["failed"]), money(ours["cost_usd"])
        )
        out.print(rows)
    if paused := ours.get("paused"):
        out.print(paused_words(batch["id"], paused), markup=False, soft_wrap=True)
    if ours.get("retry_of"):
        out.print(f"It runs failed rows of {ours['retry_of']} again; its results are those of both.", markup=False)
    for error in (batch.get("errors") or {}).get("data", []):
        where = f"line {error['line']}: " if error.get("line") else ""
        complain(f"{where}{error['message']} ({error['code']})")


def paused_words(batch_id: str, paused: Mapping[str, Any]) -> str:
    """Why nothing of a batch is begun, and the command that goes on with it."""
    resume = f"resume {batch_id}"
    if paused["reason"] == "requested":
        return f"It is paused. Go on with it: {again(resume)}"
    return (
        f"It is paused ({paused['reason']}). Raise its cap: {again(resume + ' --max-cost-usd X')}, or the budget that is spent "
        f"({again('budgets list')})."
    )


def show_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """What the doctor found."""
    rows = table("", "", "what", "finding")
    for one in findings:
        holds = Text("ok", "green") if one["holds"] else Text("no", "bold red")
        rows.add_row(holds, one["name"], one["detail"])
    out.print(rows)


def show_instance(instance: Any) -> None:
    """Where a local instance answers, and what runs in it."""
    out.print("[bold]Rightsize is up[/]", end="")
    out.print(f" at {instance.api_url}  (data in {instance.data_dir})", markup=False)
    if not instance.started:
        out.print("  It ran already: this command uses it, and keeps it up for as long as it runs itself.")
    out.print(f"  key       RIGHTSIZE_API_KEY={instance.api_key}", markup=False)
    for number, words in enumerate(("submit FILE.jsonl --wait", "status", "doctor")):
        out.print(f"  {'' if number else 'try':<9} {again(words)}", markup=False, soft_wrap=True)
    out.print("  stop      Ctrl-C")
