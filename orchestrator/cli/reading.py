"""Commands that read: status, results, explain."""

from __future__ import annotations

import base64
import itertools
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.again import again
from orchestrator.cli.completing import batch_ids
from orchestrator.cli.connect import connected, reached
from orchestrator.cli.delivering import Form, check_apart, deliver, explain_failures, form_of, report
from orchestrator.cli.display import complain, money, note, out, print_json, show_batch, table
from orchestrator.cli.following import follow, show_failures
from orchestrator.cli.options import (
    BATCH_SHAPE,
    ApiKey,
    BatchId,
    Cascade,
    Config,
    DataDir,
    Escalate,
    MaxCost,
    MaxLatency,
    MaxTier,
    MinTier,
    ReportTo,
    ResultsTo,
    StakesHint,
    TaskHint,
    TierChoice,
    TierHint,
    Url,
    bounds_of,
    json_flag,
    some_id,
)
from orchestrator.cli.saving import STANDARD, check_target
from orchestrator.client import Rightsize
from orchestrator.client.ordering import result_files
from orchestrator.errors import InvalidRequest, NotFound

MOST_LISTED = 20


def status(
    batch: Annotated[
        str | None,
        typer.Argument(
            metavar="BATCH",
            help="The id of a batch; without it, the latest ones.",
            autocompletion=batch_ids,
            callback=some_id,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"{BATCH_SHAPE}; without BATCH a list of them")] = False,
) -> None:
    """Show a batch by tier with its cost so far, or list the latest batches."""
    with reached(url, api_key, data_dir, config, workers=wait) as service:
        client = service.client
        if batch is None:
            _list(list(itertools.islice(client.batches(page=MOST_LISTED), MOST_LISTED)), as_json=as_json)
            return
        found = client.batch(batch)
        if wait:
            found = follow(client, found, quiet=as_json, lasts=service.lasts)
        if as_json:
            print_json(found)
            return
        show_batch(found)
        show_failures(client, found)


def _list(batches: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(batches)
        return
    if not batches:
        note(f"No batches yet. Submit one: {again('submit FILE.jsonl')}")
        return
    rows = table("", "batch", "status", "rows", "done", "failed", "cost", right=("rows", "done", "failed", "cost"))
    for one in batches:
        counts = one["request_counts"]
        rows.add_row(
            one["id"],
            one["status"],
            str(counts["total"]),
            str(counts["completed"]),
            str(counts["failed"]),
            money(one["rightsize"]["cost_usd"]),
        )
    out.print(rows)


def results(
    batch: BatchId,
    results_to: ResultsTo = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Instead, explain the failures: by cause, with examples and what to do.")
    ] = False,
    report_to: ReportTo = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Write the results of a batch, one JSON line for each row: answers first, then what failed and why.

    Of a batch that ran failed rows again (`rightsize retry`) they are those of both batches. Of documents they may also be a table (.csv,
    .parquet) or a folder with a file for each.

    Examples:
      rightsize results batch_0199 --out answers.jsonl
      rightsize results batch_0199 --failed
      rightsize results batch_0199 | jq 'select(.error != null)'
    """
    if failed and results_to is not None:
        raise typer.BadParameter(
            "--failed explains on the screen: leave out --out, or leave out --failed for the lines."
        )
    check_apart(results_to, report_to)
    target = results_to or STANDARD
    if form_of(target) is not Form.FOLDER:
        check_target(target)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.batch(batch)
        if found["status"] == "failed":
            raise InvalidRequest(
                f"The batch failed when its file was read: none of its rows ran. See its errors: {again('status ' + batch)}. "
                f"Correct the file and submit it again: {again('submit FILE.jsonl')}"
            )
        if not result_files(found):
            wait = again(f"status {batch} --wait")
            raise InvalidRequest(f"The batch is {found['status']} and has no files yet. Wait for it: {wait}")
        if failed:
            explain_failures(client, found)
        elif results_to is not None or report_to is None:
            deliver(client, found, target, _schema_of(client, found), documents=_is_of_documents(found))
        if report_to is not None:
            report(client, found, report_to, "Documents", _schema_of(client, found))


def _is_of_documents(batch: Mapping[str, Any]) -> bool:
    """Whether a batch is of documents for a task that has a definition."""
    return batch["rightsize"].get("task_version") is not None


def _schema_of(client: Rightsize, batch: Mapping[str, Any]) -> dict[str, Any] | None:
    """The form of a batch's answers, where it is of documents; None where its task's version is gone."""
    ours = batch["rightsize"]
    if not _is_of_documents(batch):
        return None
    try:
        found: dict[str, Any] | None = client.task(ours["task"], ours["task_version"])["definition"].get(
            "output_schema"
        )
    except NotFound:
        return None
    return found


def explain(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the request would say.")],
    task: TaskHint = None,
    tier: TierHint = TierChoice.AUTO,
    stakes: StakesHint = None,
    cascade: Cascade = None,
    min_tier: MinTier = None,
    max_tier: MaxTier = None,
    escalate: Escalate = False,
    image: Annotated[
        list[Path] | None, typer.Option("--image", exists=True, dir_okay=False, help="An image that goes with it.")
    ] = None,
    max_cost_usd: MaxCost = None,
    max_latency_s: MaxLatency = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`route` (null where none can serve it), `problem`, `tree`, `factors`, `alternatives`")
    ] = False,
) -> None:
    """Show how a request would be routed: the tree walked, the four factors, and what each model would cost and take.

    Runs nothing.

    Example:
      rightsize explain "Analyse and compare these two strategies step by step" --stakes high
    """
    bounds = bounds_of(cascade, min_tier, max_tier, escalate=escalate)
    hints = {"task": task, "stakes": stakes, "max_cost_usd": max_cost_usd, "max_latency_s": max_latency_s}
    content: Any = [{"type": "text", "text": text}, *map(_picture, image)] if image else text
    body = {
        "model": str(tier),
        "messages": [{"role": "user", "content": content}],
        "rightsize": {**{key: value for key, value in hints.items() if value is not None}, **bounds},
    }
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.explain(body)
    print_json(found) if as_json else _show_explanation(found)


def _picture(path: Path) -> dict[str, Any]:
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return {
        "type": "image_url",
        "image_url": {"url": f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"},
    }


def _show_explanation(found: dict[str, Any]) -> None:
    chosen = found["route"]
    for step in found["tree"]:
        out.print(f"  {step['question']} [bold]{step['answer']}[/]")
    if chosen:
        out.print(f"So: [bold]{chosen['tier']}[/] on {chosen['model']}, by the rule [bold]{chosen['rule']}[/]")
        for reason in chosen["reasons"]:
            out.print(f"  - {reason}", markup=False)
    else:
        complain(found["problem"])
    factors = table("\nThe four factors", "factor", "finding")
    for one in found["factors"]:
        factors.add_row(one["name"], one["finding"])
    out.print(factors)
    rows = table(
        "\nWhat each model would cost and take",
        "tier",
        "model",
        "expected",
        "at most",
        "seconds",
        "",
        right=("expected", "at most", "seconds"),
    )
    for one in found["alternatives"]:
        rows.add_row(
            one["tier"],
            one["model"],
            money(one["cost_usd"]),
            money(one["hold_usd"]),
            f"{one['latency_s']:g}",
            "chosen" if one["chosen"] else one["problem"] or "",
        )
    out.print(rows)
