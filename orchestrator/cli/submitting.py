"""Commands that hand work in, follow it and take it back: submit, cancel."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, show_batch
from orchestrator.cli.options import ApiKey, Config, DataDir, Json, Url
from orchestrator.cli.progress import Progress
from orchestrator.cli.saving import save_results
from orchestrator.client import Rightsize
from orchestrator.contracts import Stakes, Tier
from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.requests import CHAT

ROWS_FAILED: Final = 3
BATCH_FAILED: Final = 4


class TierChoice(StrEnum):
    """A tier, or the decision tree."""

    AUTO = "auto"
    SLM = "slm"
    LLM = "llm"
    RLM = "rlm"
    MLLM = "mllm"


def submit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|FILE.jsonl|-",
            help="A file, a folder (everything in it), rows in JSONL, or - for rows on standard input.",
        ),
    ],
    task: Annotated[
        str | None, typer.Option("--task", help="The named kind of work; one with a specialist may go to slm.")
    ] = None,
    tier: Annotated[
        TierChoice, typer.Option("--tier", help="Where to run; auto asks the decision tree for every row.")
    ] = TierChoice.AUTO,
    stakes: Annotated[Stakes | None, typer.Option("--stakes", help="How much hangs on a right answer.")] = None,
    instructions: Annotated[
        str | None, typer.Option("--instructions", help="What to do with each file or plain row.")
    ] = None,
    max_cost_usd: Annotated[
        str | None, typer.Option("--max-cost-usd", metavar="X", help="The most that the whole submission may cost.")
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", help="Until when it must be done, such as 24h, 90m or 7d.")
    ] = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, with progress by tier.")] = False,
    results_to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.jsonl", help="With --wait: write one line for each row there.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="With --wait: leave with code 3 if any row failed.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Submit a batch: one job for each row or file, each routed to the smallest tier that does it well.

    What cannot be read becomes a line of the error file that says why; nothing is skipped.

    Examples: rightsize submit tickets.csv --task support-triage --wait --out answers.jsonl   |   rightsize submit scans/ --instructions "Give the total." --max-cost-usd 5
    """
    _check(path, results_to, wait=wait)
    named = None if tier is TierChoice.AUTO else Tier(tier)
    options = RowOptions(task=task, tier=named, stakes=stakes, instructions=instructions)
    hints = {"task": task, "tier": named, "stakes": stakes, "max_cost_usd": max_cost_usd}
    given: dict[str, Any] = {key: str(value) for key, value in hints.items() if value is not None}
    with connected(url, api_key, data_dir, config) as client:
        batch = _send(client, path, options, deadline, {**given, "on_invalid_row": "report"})
        if wait:
            batch = follow(client, batch, quiet=as_json)
            if results_to is not None:
                count = save_results(client, batch, results_to)
                note(f"{count} lines in {results_to}")
    _show(batch, wait=wait, as_json=as_json)
    if wait:
        _leave(batch, strict=strict)


def _check(path: Path, results_to: Path | None, *, wait: bool) -> None:
    if results_to is not None and not wait:
        raise typer.BadParameter("--out needs --wait. Without it, read the results later with `rightsize results`.")
    if str(path) != "-" and not path.exists():
        raise typer.BadParameter(f"{str(path)!r} does not exist.")


def _show(batch: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    if as_json:
        print_json(batch)
    elif wait:
        show_batch(batch)
    else:
        out.print(batch["id"])
        note(f"Follow it with `rightsize status {batch['id']}`, read it with `rightsize results {batch['id']}`.")


def _send(client: Rightsize, path: Path, options: RowOptions, deadline: str, hints: dict[str, Any]) -> dict[str, Any]:
    lines = rows_of(path, options, stdin=sys.stdin.buffer if str(path) == "-" else None)
    file = client.upload((line + b"\n" for line in lines), filename=f"{path.name or 'stdin'}.jsonl")
    return client.create_batch(file["id"], endpoint=CHAT, completion_window=deadline, rightsize=hints)


def follow(client: Rightsize, batch: dict[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Wait for a batch's end with progress by tier, cost so far and time left."""
    with Progress(quiet=quiet) as progress:
        return client.wait(batch["id"], on_progress=progress.show)


def _leave(batch: dict[str, Any], *, strict: bool) -> None:
    if batch["status"] != "completed":
        raise typer.Exit(BATCH_FAILED)
    if strict and batch["request_counts"]["failed"]:
        raise typer.Exit(ROWS_FAILED)


def cancel(
    what: Annotated[str, typer.Argument(metavar="BATCH|JOB", help="The id of a batch or of a job.")],
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Cancel a batch or a job. What is done stays done and can be read."""
    with connected(url, api_key, data_dir, config) as client:
        found = client.cancel_job(what) if what.startswith("job_") else client.cancel(what)
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['id']}  {found.get('status') or found.get('state')}")
