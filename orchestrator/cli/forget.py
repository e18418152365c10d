"""`rightsize forget`: all that is stored of a document goes."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.connect import connected
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag
from orchestrator.errors import InvalidRequest

_HASH: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
WORDS: Final[Mapping[str, str]] = {
    "jobs": "jobs emptied", "cancelled": "of them cancelled", "requests": "requests", "results": "results", "versions": "corrections",
    "reviews": "reviews", "attempts": "attempts looked through", "blobs": "blobs", "lines": "lines of files",
}  # fmt: skip


def _digest(value: str) -> str:
    found = _HASH.fullmatch(value.strip().lower())
    if found is None:
        raise typer.BadParameter(
            f"{value[:80]!r} is no SHA-256: give 64 hexadecimal digits, as sha256sum prints them and `--manifest` writes them."
        )
    return found[1]


def forget(
    document: Annotated[
        str, typer.Option("--document", metavar="HASH", help="The SHA-256 of the document's bytes.", callback=_digest)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`hash`, `taken` (counts of `jobs`, `results`, `lines` and so on), `files`")
    ] = False,
) -> None:
    """Forget a document: all that is stored of what was read of it and answered about it, in files as well. It cannot be undone.

    Jobs, what they cost, and the hash stay. Backups keep what they hold. Needs a key with the scope admin.

    Example:
      rightsize forget --document $(sha256sum letter.pdf | cut -d' ' -f1)
    """
    if not yes:
        _ask(document)
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.forget_document(document)
    print_json(found) if as_json else _show(found)


def _ask(document: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidRequest("Nobody is here to be asked, and it cannot be undone. Give --yes.")
    typer.confirm(f"Forget all that is stored of the document {document[:12]}...? It cannot be undone.", abort=True)


def _show(found: Mapping[str, Any]) -> None:
    if not any(found["taken"].values()):
        note("Nothing was stored of it.")
        return
    rows = table("", "", "taken", right=("taken",))
    for name, words in WORDS.items():
        rows.add_row(words, f"{found['taken'][name]:,}")
    out.print(rows)
    for file in found["files"]:
        out.print(f"{file} was written anew, without it", markup=False)
