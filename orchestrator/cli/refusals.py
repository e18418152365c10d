"""`rightsize refusals`: work that came as a Celery message and was refused, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag


def refusals(
    refusal: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, help="One refusal, with what was asked; without it, the latest."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many of the latest.")] = 20,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Those without a known key, for whoever runs the service.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`id`, `task_id`, `code`, `message`, `created_at`; with ID also `request`, without it a list")
    ] = False,
) -> None:
    """Show work that services handed in through Celery and that was refused, the newest first.

    Each with a code and what to do. With an ID also what was asked, without the key.
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = (
            client.refusals(limit=limit, unknown=unknown)
            if refusal is None
            else [client.refusal(refusal, unknown=unknown)]
        )
    if as_json:
        print_json(found if refusal is None else found[0])
        return
    rows = table("", "id", "when (UTC)", "task id", "code", "why", right=("id",))
    for one in found:
        when = f"{datetime.fromtimestamp(one['created_at'], UTC):%Y-%m-%d %H:%M:%S}"
        rows.add_row(str(one["id"]), when, one["task_id"] or "unknown", one["code"], one["message"])
    if found:
        out.print(rows)
    else:
        note("Nothing was refused.")
    if refusal is not None:
        print_json(found[0]["request"])
