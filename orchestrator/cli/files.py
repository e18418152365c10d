"""`rightsize files`: the files of the service, what was uploaded and what batches wrote."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command import Command
from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag, place
from orchestrator.cli.saving import STANDARD, check_target, tell_written

app = typer.Typer(no_args_is_help=True, help="Files of the service: what was uploaded, and what batches wrote.")
FileId = Annotated[str, typer.Argument(metavar="FILE", help="The id of a file (file_...).")]
ContentTo = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="PATH|-",
        parser=place,
        help="Write it there; - is standard output, the default. A file appears once it is whole.",
    ),
]


@app.command("list", cls=Command)
def list_files(
    purpose: Annotated[
        str | None, typer.Option("--purpose", help="Only those for batch, batch_output or user_data.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many of the latest.")] = 20,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("a list with `id`, `filename`, `purpose`, `bytes`, `created_at`")] = False,
) -> None:
    """List the latest files, with what they are for and when they expire.

    Where no time is shown, a file is kept for its tenant's retention.

    Example:
      rightsize files list --purpose batch_output
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = list(itertools.islice(client.files(purpose=purpose), limit))
    if as_json:
        print_json(found)
        return
    if not found:
        note("No files.")
        return
    columns = ("file", "for", "bytes", "made", "expires")
    rows = table("", *columns, "name", right=("bytes",), whole=columns)
    for one in found:
        days = _day(one["created_at"]), _day(one["expires_at"])
        rows.add_row(one["id"], one["purpose"], f"{one['bytes']:,}", *days, one["filename"])
    out.print(rows)


@app.command("get", cls=Command)
def get_file(
    file: FileId,
    content_to: ContentTo = None,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Write what a file holds to --out, or to standard output.

    After a lost connection it goes on with the next byte.

    Example:
      rightsize files get file_0199 --out rows.jsonl
    """
    target = content_to or STANDARD
    check_target(target)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        tell_written(client.content(file), target)


@app.command("delete", cls=Command)
def delete_files(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="The ids of files.")],
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("a list with `id`, `deleted`")] = False,
) -> None:
    """Delete files.

    Batches that were made of them go on; one that still reads its file keeps it until then.

    Example:
      rightsize files delete file_0199 file_019a
    """
    with connected(url, api_key, data_dir, config, workers=False) as client:
        done = []
        for file in files:
            done.append(client.delete_file(file))
            if not as_json:
                out.print(f"{file}  deleted")
    if as_json:
        print_json(done)


def _day(stamp: int | None) -> str:
    return "" if stamp is None else f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}"
