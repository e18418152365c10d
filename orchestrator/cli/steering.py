"""Commands that steer what was handed in: pause, resume, cancel, retry."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.completing import batch_ids
from orchestrator.cli.connect import connected, reached
from orchestrator.cli.display import out, print_json, show_batch
from orchestrator.cli.options import (
    BATCH_SHAPE,
    ApiKey,
    BatchId,
    Config,
    DataDir,
    Deadline,
    MaxCost,
    ResultsTo,
    Strict,
    Url,
    json_flag,
)
from orchestrator.cli.submitting import check_out, finish, leave, show_made

AsBatch = Annotated[bool, json_flag(BATCH_SHAPE)]


class RetryTier(StrEnum):
    """Where failed rows run again: one tier up each, or all on one."""

    UP = "up"
    SLM = "slm"
    LLM = "llm"
    RLM = "rlm"
    MLLM = "mllm"


RetryOn = Annotated[RetryTier, typer.Option("--tier", help="Where they run: one tier up each, or all on one tier.")]
Only = Annotated[
    str | None, typer.Option("--only", metavar="CODE", help="Only rows that failed with this code, such as timeout.")
]
RETRY_TIER: Final = RetryTier.UP


def pause(
    batch: BatchId,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsBatch = False,
) -> None:
    """Begin nothing more of a batch until it is resumed.

    What runs just now ends, and the time until the batch is due goes on.

    Example:
      rightsize pause batch_0199
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(client.pause(batch), as_json=as_json)


def resume(
    batch: BatchId,
    max_cost_usd: MaxCost = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsBatch = False,
) -> None:
    """Go on with a batch that was paused, or that came to its cap.

    --max-cost-usd raises the cap. A batch that waits for a budget goes on by itself once that has room.

    Examples:
      rightsize resume batch_0199
      rightsize resume batch_0199 --max-cost-usd 20
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        _show(client.resume(batch, max_cost_usd=max_cost_usd), as_json=as_json)


def retry(
    batch: BatchId,
    tier: RetryOn = RETRY_TIER,
    only: Only = None,
    deadline: Deadline = "24h",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, with progress by tier.")] = False,
    results_to: ResultsTo = None,
    strict: Strict = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsBatch = False,
) -> None:
    """Run the failed rows of a batch again, as a batch of their own that knows the first: its results are those of both.

    Rows that could never be read are not run again. Rows on slm go to llm, those on llm to rlm, unless --tier names one tier.

    Examples:
      rightsize retry batch_0199 --wait --out answers.jsonl
      rightsize retry batch_0199 --tier rlm --only timeout
    """
    check_out(results_to, None, wait=wait, as_json=as_json)
    with reached(url, api_key, data_dir, config) as service:
        made = service.client.retry(batch, tier=tier, only=only, completion_window=deadline)
        if not wait:
            show_made(made, as_json=as_json)
            return
        made = finish(service, made, results_to, as_json=as_json)
    leave(made, strict=strict)


def _show(batch: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
    else:
        show_batch(batch)


def cancel(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BATCH|JOB", help="The id of a batch (batch_...) or of a job (job_...).", autocompletion=batch_ids
        ),
    ],
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("the batch or job object as it is then")] = False,
) -> None:
    """Cancel a batch or a job.

    What is done stays done: it can be read, and is charged.
    """
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
