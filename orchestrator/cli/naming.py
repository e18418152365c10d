"""What a command is given to work on: rows, or documents wherever they are; refused at once where it can never work."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from orchestrator.cli.saving import STANDARD
from orchestrator.documents.inputs import Wanted, check
from orchestrator.errors import InvalidRequest


def wanted_of(
    place: str, text_column: str | None = None, path_column: str | None = None, id_column: str | None = None,
    hosts: Sequence[str] | None = None,
) -> Wanted:  # fmt: skip
    """What the flags of a command name; raises BadParameter for what can never be read. Nothing is fetched yet."""
    stdin = sys.stdin.buffer if place == str(STANDARD) and sys.stdin is not None else None
    wanted = Wanted(place, text_column, path_column, id_column, tuple(hosts or ()), stdin)
    if is_plain(wanted):
        _check_source(Path(place))
    else:
        try:
            check(wanted)
        except InvalidRequest as error:
            raise typer.BadParameter(error.message) from None
    return wanted


def is_plain(wanted: Wanted) -> bool:
    """Whether it may be rows or files for a task without a definition: a path, or standard input."""
    columns = (wanted.text_column, wanted.path_column, wanted.id_column)
    return wanted.kind in ("path", "stdin") and columns == (None, None, None)


def _check_source(path: Path) -> None:
    if path == STANDARD:
        return
    if not path.exists():
        raise typer.BadParameter(f"{str(path)!r} does not exist.")
    if not os.access(path, os.R_OK):
        raise typer.BadParameter(f"{str(path)!r} is not readable for you: change its mode, or run as its owner.")
