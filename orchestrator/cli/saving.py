"""Results to where the person wants them: one line for each row of the batch, into a file whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.display import note
from orchestrator.client import Rightsize
from orchestrator.client.lines import lines_of
from orchestrator.client.ordering import result_files
from orchestrator.errors import InvalidRequest

STANDARD: Final = Path("-")
"""Standard output, or standard input."""


def result_pieces(client: Rightsize, batch: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of a batch's output, with that of the batch whose rows it ran again, then of its error file.

    Lines of which a person said something come as they stand now.
    """
    seen = client.overlay(dict(batch))
    for file_id in result_files(batch):
        pieces = client.content(file_id)
        yield from seen.raw(lines_of(pieces)) if seen else pieces


def save_results(client: Rightsize, batch: Mapping[str, Any], path: Path) -> int:
    """Write a batch's results where `path` says, `-` being standard output; returns the number of lines.

    A file is written under a temporary name until it is whole. Where there are no lines, nothing is touched.
    """
    pieces = result_pieces(client, batch)
    first = next(pieces, b"")
    if not first:
        return 0
    try:
        return _write(chain((first,), pieces), path)
    except BrokenPipeError:
        raise
    except OSError as error:
        stay = again(f"results {batch['id']}")
        place = "standard output" if path == STANDARD else path
        raise InvalidRequest(f"Cannot write {place}: {error.strerror}. The results stay: `{stay}`.") from error


def write_lines(lines: Iterable[bytes], path: Path) -> int:
    """Write lines where `path` says, in the same way; returns their number."""
    try:
        return _write(lines, path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}: {error.strerror}.") from error


def tell_saved(count: int, batch: Mapping[str, Any], path: Path) -> None:
    """Say how many lines went where, or why none did."""
    if not count:
        note(f"The batch is {batch['status']} and has no result lines: {path} was not written.")
    elif path != STANDARD:
        note(f"{count} lines in {path}")


def tell_written(lines: Iterable[bytes], path: Path) -> None:
    """Write what a file of the service holds, and say where it went."""
    count = write_lines(lines, path)
    if path != STANDARD:
        note(f"{count} lines in {path}")


def check_target(path: Path, source: Path | None = None) -> None:
    """Refuse, before any work is done, a place where results cannot go; `source` is the input, which must survive."""
    if path == STANDARD:
        return
    if source is not None and _is_same(path, source):
        raise typer.BadParameter(f"{str(path)!r} is the input itself: give the results a file of their own.")
    if path.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is a folder: name a file in it.")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise typer.BadParameter(f"There is no folder {str(folder)!r} for the results: make it first.")


def _is_same(path: Path, source: Path) -> bool:
    try:
        there = os.fstat(0) if source == STANDARD else source.stat()
        return os.path.samestat(path.stat(), there) and stat.S_ISREG(there.st_mode)
    except (OSError, ValueError):
        return False


def _write(pieces: Iterable[bytes], path: Path) -> int:
    if path == STANDARD:
        return _copy(pieces, sys.stdout.buffer)
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = True
    if is_file:
        return _replace(pieces, Path(os.path.realpath(path)))  # what a link leads to, not the link
    with open(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as device:  # noqa: PTH123 - a pipe or device: never made, never replaced
        return _copy(pieces, device)


def _replace(pieces: Iterable[bytes], path: Path) -> int:
    temporary = path.with_name(f".rightsize-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            count = _copy(pieces, file)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _copy(pieces: Iterable[bytes], file: Any) -> int:
    lines = 0
    for piece in pieces:
        lines += piece.count(b"\n")
        file.write(piece)
    file.flush()
    return lines
