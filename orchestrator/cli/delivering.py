"""Results of documents in the form that people want: lines, a table, a folder with a file for each, and a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import typer

from orchestrator.cli.display import note, out
from orchestrator.cli.saving import STANDARD, check_target, save_results, tell_saved
from orchestrator.client import Rightsize
from orchestrator.delivery.failures import failure_lines, failures_of
from orchestrator.delivery.mirror import write_mirror
from orchestrator.delivery.parquet import write_parquet
from orchestrator.delivery.report import Heading, write_report
from orchestrator.delivery.table import write_csv
from orchestrator.errors import InvalidRequest


class Form(StrEnum):
    """What results are written as."""

    LINES = "lines"
    CSV = "csv"
    PARQUET = "parquet"
    FOLDER = "folder"


def form_of(path: Path, *, documents: bool = False) -> Form:
    """The form that a place asks for: a folder, or a file by its suffix. Of documents a name without one is a folder that is to be made."""
    if path != STANDARD and (path.is_dir() or (documents and not path.suffix and not path.exists())):
        return Form.FOLDER
    return {".csv": Form.CSV, ".parquet": Form.PARQUET}.get(path.suffix.lower(), Form.LINES)


OFFICE: Final = frozenset({".xlsx", ".xls", ".ods", ".docx", ".pdf"})


def check_apart(results_to: Path | None, report_to: Path | None, manifest: Path | None = None) -> None:
    """Refuse, before any work is done, files that would overwrite one another, and folders that are not there."""
    named = [one.absolute() for one in (results_to, report_to, manifest) if one is not None and one != STANDARD]
    if len(set(named)) < len(named):
        raise typer.BadParameter("--out, --report and --manifest name the same file: give each its own.")
    if manifest is not None and not manifest.absolute().parent.is_dir():
        raise typer.BadParameter(f"There is no folder {str(manifest.parent)!r} for the manifest: make it first.")
    if results_to is not None and results_to.suffix.lower() in OFFICE:
        raise typer.BadParameter(
            f"{results_to.suffix} is not written: give --out a .jsonl, .csv or .parquet, or a folder."
        )


def check_form(path: Path | None, source: Path | None, *, documents: bool) -> None:
    """Refuse, before any work is done, a place where results cannot go."""
    if path is None:
        return
    if form_of(path, documents=documents) is not Form.FOLDER:
        check_target(path, source)
    elif not documents:
        raise typer.BadParameter(
            f"{str(path)!r} is a folder: name a file in it. Only results of documents fill a folder."
        )
    elif source is not None and path.resolve() == source.resolve():
        raise typer.BadParameter(f"{str(path)!r} is the input itself: give the results a folder of their own.")


def deliver(
    client: Rightsize, batch: Mapping[str, Any], path: Path, schema: Mapping[str, Any] | None, *, documents: bool = False
) -> None:  # fmt: skip
    """Write a batch's results where `path` says, in its form, and say what was written."""
    form = form_of(path, documents=documents)
    if form is Form.LINES:
        tell_saved(save_results(client, batch, path), batch, path)
        return
    lines = lines_of(client, batch)
    if form is Form.FOLDER:
        made = write_mirror(lines, path)
        note(
            f"{made.documents:,} documents in {path} ({made.failed:,} of them failed; {made.written:,} files are new or changed)"
        )
    elif form is Form.PARQUET:
        note(f"{write_parquet(lines, schema, path):,} rows in {path}")
    else:
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                count = write_csv(lines, schema, file)
        except OSError as error:
            raise InvalidRequest(f"Cannot write {path}: {error.strerror}.") from None
        note(f"{count:,} rows in {path}")


def report(
    client: Rightsize, batch: Mapping[str, Any], path: Path, title: str, schema: Mapping[str, Any] | None
) -> None:
    """Write the report on a batch as one HTML file."""
    heading = Heading(title, str(batch["id"]), made_on=datetime.now(UTC).date())
    write_report(lines_of(client, batch), path, heading, schema=schema)
    note(f"The report is in {path}")


def explain_failures(client: Rightsize, batch: Mapping[str, Any]) -> None:
    """Say why documents and rows failed, by cause, with examples and what to do."""
    for line in failure_lines(failures_of(lines_of(client, batch))):
        out.print(line, markup=False, highlight=False)


def lines_of(client: Rightsize, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch's result lines."""
    yield from client.results(dict(batch))
