"""`rightsize export`: what a task's work has taught, as training data for a language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, Task, checked_day, json_flag, place

WHY: Final = {
    "duplicate": "the text of another row",
    "another_answer": "another answer of the same model to the same text",
    "contradicted": "people contradict each other about its text",
    "not_text": "pictures, sounds, tools, or no text at all",
    "no_question": "it ends in no question",
    "no_answer": "the answer is empty",
    "too_long": "over 1 MiB",
}
"""What each reason for leaving a row out means."""


def export(
    task: Task,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", parser=place, help="Where the files go: a folder that is new or empty."),
    ],
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE",
            callback=checked_day,
            help="Only what was answered from this day on (UTC), such as 2026-11-01.",
        ),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("the manifest with `files`, `kept`, `left_out`, `sources`, `models`, `simulated`")
    ] = False,
) -> None:
    """Write a task's answers as chats on which a language model can be trained, with the source of each.

    They come in three files, train, validation and test, which share no text. Prompts and answers stand in them as they are: keep
    them as you keep the documents.

    Example:
      rightsize export support-triage --to training
    """
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        made: dict[str, Any] = server_command("export_task")(settings, task, to, since=since)
    if as_json:
        print_json(made)
    else:
        _show(made, to)
    if made["simulated"]:
        note(
            f"Warning: {made['simulated']} of {made['kept']} answers are simulated, which means made up. A model that learns from "
            "them learns nothing about your work: run it on a real model first, or give labels."
        )


def _show(made: Mapping[str, Any], to: Path) -> None:
    out.print(f"[bold]{made['task']}[/]: {made['kept']} of {made['rows_read']} rows")
    rows = table("", "file", "rows", "SHA-256", right=("rows",), whole=("SHA-256",))
    for name, file in made["files"].items():
        rows.add_row(str(to / name), str(file["rows"]), file["sha256"][:16])
    out.print(rows)
    for name, counts in (("right by", made["sources"]), ("answered by", made["models"])):
        if counts:
            told = ", ".join(f"{what} {count}" for what, count in counts.items())
            out.print(f"  {name}: {told}", markup=False, soft_wrap=True)
    for why, count in made["left_out"].items():
        out.print(f"  left out {count}: {WHY.get(why, why)}", markup=False, soft_wrap=True)
    if made["contradictions"]:
        note(f"Settle these, where people contradict each other: {', '.join(made['contradictions'])}")
