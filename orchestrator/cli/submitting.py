"""Commands that hand work in, follow it and take it back: submit, cancel."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import Service, connected, reached
from orchestrator.cli.display import note, out, print_json, show_batch
from orchestrator.cli.ending import if_interrupted
from orchestrator.cli.following import follow, show_failures
from orchestrator.cli.options import (
    BATCH_SHAPE,
    ApiKey,
    Config,
    DataDir,
    Deadline,
    MaxCost,
    ResultsTo,
    StakesHint,
    TaskHint,
    TierChoice,
    TierHint,
    Url,
    json_flag,
    known_endpoint,
    place,
)
from orchestrator.cli.saving import STANDARD, check_target, save_results, tell_saved
from orchestrator.client import Rightsize
from orchestrator.contracts import Tier
from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.errors import InvalidRequest
from orchestrator.requests import CHAT

ROWS_FAILED: Final = 3
BATCH_FAILED: Final = 4


def submit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|FILE.jsonl|-",
            parser=place,
            help="A file, a folder (everything in it), rows in JSONL, or - for rows on standard input.",
        ),
    ],
    task: TaskHint = None,
    tier: TierHint = TierChoice.AUTO,
    stakes: StakesHint = None,
    instructions: Annotated[
        str | None, typer.Option("--instructions", help="What to do with each file or plain row.")
    ] = None,
    endpoint: Annotated[
        str,
        typer.Option("--endpoint", callback=known_endpoint, help="What is asked of each row, such as /v1/classify."),
    ] = CHAT,
    max_cost_usd: MaxCost = None,
    deadline: Deadline = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, with progress by tier.")] = False,
    results_to: ResultsTo = None,
    strict: Annotated[bool, typer.Option("--strict", help="With --wait: leave with code 3 if any row failed.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(BATCH_SHAPE)] = False,
) -> None:
    """Submit a batch: one job for each row or file, each routed to the smallest tier that does it well.

    What cannot be read becomes a line of the error file that says why; nothing is skipped.

    Examples:
      rightsize submit tickets.csv --task triage --wait --out answers.jsonl
      rightsize submit scans/ --instructions "Give the total." --max-cost-usd 5
      cat rows.jsonl | rightsize submit - --wait --out - | jq .custom_id
    """
    _check(path, results_to, wait=wait, as_json=as_json)
    named = None if tier is TierChoice.AUTO else Tier(tier)
    options = RowOptions(task=task, tier=named, stakes=stakes, instructions=instructions, endpoint=endpoint)
    hints = {"task": task, "tier": named, "stakes": stakes, "max_cost_usd": max_cost_usd}
    given: dict[str, Any] = {key: str(value) for key, value in hints.items() if value is not None}
    with reached(url, api_key, data_dir, config) as service:
        batch = _send(service.client, path, options, deadline, {**given, "on_invalid_row": "report"})
        if not wait:
            _show_made(batch, as_json=as_json)
            return
        batch = _finish(service, batch, results_to, as_json=as_json)
    _leave(batch, strict=strict)


def _check(path: Path, results_to: Path | None, *, wait: bool, as_json: bool) -> None:
    if results_to is not None:
        if not wait:
            raise typer.BadParameter("--out needs --wait. Without it, read the results later with `rightsize results`.")
        if as_json and results_to == STANDARD:
            raise typer.BadParameter("--json and --out - both want standard output: give --out a file.")
        check_target(results_to, path)
    if path != STANDARD and not path.exists():
        raise typer.BadParameter(f"{str(path)!r} does not exist.")
    if path != STANDARD and not os.access(path, os.R_OK):
        raise typer.BadParameter(f"{str(path)!r} is not readable for you: change its mode, or run as its owner.")


def _send(client: Rightsize, path: Path, options: RowOptions, deadline: str, hints: dict[str, Any]) -> dict[str, Any]:
    stdin = None
    if path == STANDARD:
        if sys.stdin is None:
            raise InvalidRequest("Standard input is closed. Pipe rows into it, or name a file.")
        stdin = sys.stdin.buffer
    if_interrupted(
        f"Interrupted before the batch was there. Should it have come to be, this shows it: {again('status')}"
    )
    lines = rows_of(path, options, stdin=stdin)
    file = client.upload((line + b"\n" for line in lines), filename=f"{path.name or 'stdin'}.jsonl")
    return client.create_batch(file["id"], endpoint=options.endpoint, completion_window=deadline, rightsize=hints)


def _show_made(batch: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
        return
    out.print(batch["id"])
    status, results = again(f"status {batch['id']}"), again(f"results {batch['id']}")
    note(f"Follow it: {status}   read it: {results}")


def _finish(service: Service, batch: dict[str, Any], results_to: Path | None, *, as_json: bool) -> dict[str, Any]:
    """Follow the batch to its end, write its results, and show what became of it."""
    batch = follow(service.client, batch, quiet=as_json, lasts=service.lasts)
    if results_to is not None:
        tell_saved(save_results(service.client, batch, results_to), batch, results_to)
    if as_json:
        print_json(batch)
    elif results_to != STANDARD:  # lines for a program are not to be mixed with a table for people
        show_batch(batch)
        show_failures(service.client, batch)
    return batch


def _leave(batch: dict[str, Any], *, strict: bool) -> None:
    if batch["status"] != "completed":
        raise typer.Exit(BATCH_FAILED)
    if strict and batch["request_counts"]["failed"]:
        raise typer.Exit(ROWS_FAILED)


def cancel(
    what: Annotated[
        str, typer.Argument(metavar="BATCH|JOB", help="The id of a batch (batch_...) or of a job (job_...).")
    ],
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("the batch or job object as it is then")] = False,
) -> None:
    """Cancel a batch or a job. What is done stays done and can be read."""
    if not what.startswith(("batch_", "job_")):
        raise typer.BadParameter(
            f"{what!r} is no id. A batch's begins with batch_ (`{again('status')}` lists them), a job's with job_."
        )
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.cancel_job(what) if what.startswith("job_") else client.cancel(what)
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['id']}  {found.get('status') or found.get('state')}")
