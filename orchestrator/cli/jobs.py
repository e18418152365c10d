"""`rightsize job`: everything that became of one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import connected
from orchestrator.cli.display import complain, money, note, out, print_json, table
from orchestrator.cli.ending import if_interrupted
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag, some_id

JOB_FAILED: Final = 4


def job(
    job_id: Annotated[
        str,
        typer.Argument(
            metavar="JOB",
            help="The id of a job (job_...), or celery: and the id of its Celery task.",
            callback=some_id,
        ),
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until it has ended; leave with 4 if it did not succeed.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("the job with `state`, `route`, `attempts`, `charges`, `costs`, `cost_usd`, `result`, `error`")
    ] = False,
) -> None:
    """Show a job: its state, where it ran and why, its attempts, what it cost, and its answer or why there is none.

    Jobs are handed in one by one, over the API or as Celery messages. Each row of a batch is one too.

    Examples:
      rightsize job job_0199 --wait
      rightsize job job_0199 --json | jq .result
    """
    with connected(url, api_key, data_dir, config, workers=wait) as client:
        if wait:
            if_interrupted(f"Interrupted. The job goes on. Stop it: {again('cancel ' + job_id)}")
            found = client.wait_job(job_id)
        else:
            found = client.job(job_id)
    if as_json:
        print_json(found)
    else:
        _show(found)
    if wait and found["state"] != "succeeded":
        raise typer.Exit(JOB_FAILED)


def _show(job: Mapping[str, Any]) -> None:
    route = job["route"]
    out.print(f"[bold]{job['id']}[/]  {job['state']}  {money(job['cost_usd'])}")
    if job["batch_id"]:
        out.print(f"  of {job['batch_id']}, row {job['custom_id']}", markup=False, soft_wrap=True)
    out.print(f"  {route['tier']} on {route['model']}, by the rule {route['rule']}", markup=False)
    for reason in route["reasons"]:
        out.print(f"  - {reason}", markup=False, soft_wrap=True)
    if job["attempts"]:
        _show_attempts(job)
    if job["error"]:
        complain(f"{job['error']['message']} ({job['error']['code']})")
    if job["result"] is not None:
        print_json(job["result"])
    elif not job["ended_at"]:
        note(f"It has not ended. Wait for it: {again('job ' + job['id'] + ' --wait')}")


def _show_attempts(job: Mapping[str, Any]) -> None:
    rows = table(
        "", "attempt", "model", "outcome", "seconds", "tokens in", "tokens out", "cost",
        right=("attempt", "seconds", "tokens in", "tokens out", "cost"),
    )  # fmt: skip
    for one in job["attempts"]:
        usage = one["usage"]
        told = one["outcome"] + (f" ({one['error']['code']})" if one["error"] else "")
        rows.add_row(
            str(one["attempt"]), one["model"], told, f"{one['engine_s']:.3g}", f"{usage['input_tokens']:,}",
            f"{usage['output_tokens']:,}", money(one["marginal_usd"]),
        )  # fmt: skip
    out.print(rows)
