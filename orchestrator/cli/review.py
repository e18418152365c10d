"""`rightsize review`: answers at which people should look, as a list, as a table to be filled in, and back."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import connected
from orchestrator.cli.display import complain, note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Task, Url, json_flag, place
from orchestrator.cli.review_table import Schema, Wanted, cell, corrected, filled, rows, written
from orchestrator.cli.saving import STANDARD, check_target, write_lines
from orchestrator.client import Rightsize
from orchestrator.errors import InvalidRequest, NotFound, Refused

SOME_REFUSED: Final = 3


class State(StrEnum):
    """What became of a review."""

    OPEN = "open"
    CORRECTED = "corrected"
    CONFIRMED = "confirmed"
    DROPPED = "dropped"


IS_OPEN: Final = State.OPEN


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not taken."""

    line: int
    review: str
    why: str


def review(
    task: Task,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE.csv|-",
            parser=place,
            help="Write a table there, a line for each field; - is standard output.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--import", metavar="FILE.csv", parser=place, help="Take the table back, where something was filled in."
        ),
    ] = None,
    state: Annotated[State, typer.Option("--state", help="Those that are open, or what was decided.")] = IS_OPEN,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="How many are listed, the oldest first.")
    ] = 100,
    force: Annotated[
        bool, typer.Option("--force", help="With --import: also where it was decided otherwise before.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "a list with `id`, `document`, `fields`, `state`; with --import `decided` and `refused` (`line`, `review`, `why`)"
        ),
    ] = False,
) -> None:
    """Look at answers that need people: fields that are unsure, that stand nowhere in the document, or of which its parts differ.

    In the table fill in `correction` with a better value, or `decision` with confirm or drop. Leaves with 3 where a line was refused.

    Examples:
      rightsize review invoices
      rightsize review invoices --out review.csv
      rightsize review invoices --import review.csv
    """
    if to is not None:
        check_target(to, source)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        if source is not None:
            _import(client, task, source, force=force, as_json=as_json)
        elif to is not None:
            _export(client, task, state, to)
        else:
            _list(list(itertools.islice(client.reviews(task, state=state), limit)), task, as_json=as_json)


def _list(found: list[dict[str, Any]], task: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if not found:
        note(f"Nothing of {task} is for review.")
        return
    shown = table(
        "", "review", "document", "field", "value", "why", "sure", "page", right=("sure", "page"), whole=("review",)
    )
    for one in found:
        for pointer, told in one["fields"].items():
            sure = "" if told["confidence"] is None else f"{told['confidence']:.2f}"
            page = "" if told["page"] is None else str(told["page"])
            shown.add_row(
                one["id"], one["document"]["name"], pointer, cell(told["value"]), ", ".join(told["reasons"]), sure, page
            )
    out.print(shown)
    note(
        f"Fill them in: {again(f'review {task} --out review.csv')}, then {again(f'review {task} --import review.csv')}"
    )


def _export(client: Rightsize, task: str, state: State, to: Path) -> None:
    count = write_lines(written(rows(client.reviews(task, state=state))), to)
    if to != STANDARD:
        note(f"{max(0, count - 1):,} lines in {to}. Fill in correction or decision, and give it back with --import.")


def _import(client: Rightsize, task: str, source: Path, *, force: bool, as_json: bool) -> None:
    """Decide what was filled in, review by review; what is refused does not hold up the rest."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as lines:
            wanted = filled(lines)
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8: save it as CSV UTF-8"
        raise InvalidRequest(f"Cannot read {source}: {told}.") from None
    schemas: dict[int, Schema | None] = {}
    refused: list[RefusedLine] = []
    decided = 0
    for one in wanted:
        try:
            _decide(client, task, one, schemas, force=force)
            decided += 1
        except Refused as error:
            refused += [RefusedLine(line.number, one.review, error.message) for line in one.lines]
    if as_json:
        print_json(
            {"decided": decided, "refused": [{"line": r.line, "review": r.review, "why": r.why} for r in refused]}
        )
    else:
        for line in refused:
            complain(f"line {line.line}: {line.why}")
        note(f"{decided:,} decided, {len({line.review for line in refused}):,} refused")
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _decide(
    client: Rightsize, task: str, wanted: Wanted, schemas: dict[int, Schema | None], *, force: bool
) -> None:  # fmt: skip
    decision = wanted.decision
    found = client.review(wanted.review)
    if found["task"] != task:
        raise NotFound(f"{wanted.review} is of the task {found['task']}, not of {task}.")
    answer = None
    if decision == "correct":
        version = found["task_version"]
        if version not in schemas:
            schemas[version] = _schema(client.task(task, version))
        answer = corrected(found["answer"], wanted.corrections, schemas[version])
        client.decide_review(wanted.review, "correct", answer, force=force)
    else:
        client.decide_review(wanted.review, "confirm" if decision == "confirm" else "drop", force=force)


def _schema(task: Mapping[str, Any]) -> Schema | None:
    found: Schema | None = task["definition"].get("output_schema")
    return found
