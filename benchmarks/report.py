"""Figures with their targets, as JSON and as a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.stack import ROOT

FOLDER = ROOT / "build" / "bench"
WIDTH = 150
"""Of a table that goes into a file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. Without a target it is told for comparison only, and `holds` is None."""

    metric: str
    value: float
    unit: str
    target: str | None = None
    holds: bool | None = None
    baseline: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is: the whole, or a quick one that only shows that the benchmark works."""

    quick: bool
    rounds: int = 3

    def of(self, whole: int) -> int:
        """So many jobs instead of the whole number."""
        return max(1, whole // 10) if self.quick else whole


def at_most(
    metric: str, value: float, limit: float, unit: str, *, baseline: float | None = None, note: str = ""
) -> Row:
    return Row(
        metric,
        _short(value),
        unit,
        f"<= {limit:g}",
        value <= limit,
        _short(baseline) if baseline is not None else None,
        note,
    )


def at_least(
    metric: str, value: float, limit: float, unit: str, *, baseline: float | None = None, note: str = ""
) -> Row:
    return Row(
        metric,
        _short(value),
        unit,
        f">= {limit:g}",
        value >= limit,
        _short(baseline) if baseline is not None else None,
        note,
    )


def told(metric: str, value: float, unit: str, *, note: str = "") -> Row:
    return Row(metric, _short(value), unit, note=note)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def spread(values: Sequence[float]) -> str:
    """All values of a median, for the note."""
    return "runs " + ", ".join(f"{value:.4g}" for value in values)


def write(name: str, rows: Sequence[Row], scale: Scale) -> Path:
    """Write the file of one benchmark; a quick run leaves the file of the last whole one alone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / (f"{name}.quick.json" if scale.quick else f"{name}.json")
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return path


def show(name: str, rows: Sequence[Row], seconds: float) -> None:
    """Print one benchmark's table."""
    table = Table(title=f"{name} ({seconds:.0f} s)", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("metric", "value", "unit", "target", "holds", "baseline"):
        table.add_column(heading, justify="right" if heading in ("value", "baseline") else "left")
    table.add_column("note", overflow="fold")
    for row in rows:
        holds = "" if row.holds is None else "[green]yes[/]" if row.holds else "[red]no[/]"
        baseline = "" if row.baseline is None else f"{row.baseline:g}"
        table.add_row(row.metric, f"{row.value:g}", row.unit, row.target or "", holds, baseline, row.note)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
