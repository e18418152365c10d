"""Results into a file: one line for each row of the batch, written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.client import Rightsize
from orchestrator.errors import InvalidRequest

PIECE = 1 << 16


def result_pieces(client: Rightsize, batch: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of a batch's output file, then of its error file."""
    for name in ("output_file_id", "error_file_id"):
        if batch.get(name):
            yield from client.content(batch[name])


def save_results(client: Rightsize, batch: Mapping[str, Any], path: Path) -> int:
    """Write a batch's results to a file, under a temporary name until it is whole; returns the number of lines."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    lines = 0
    try:
        with temporary.open("wb") as file:
            for piece in result_pieces(client, batch):
                lines += piece.count(b"\n")
                file.write(piece)
        temporary.replace(path)
    except OSError as error:
        raise InvalidRequest(
            f"Cannot write {path}: {error.strerror}. The results stay: `rightsize results {batch['id']}`."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return lines


def print_results(client: Rightsize, batch: Mapping[str, Any]) -> None:
    """Write a batch's results to standard output."""
    for piece in result_pieces(client, batch):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
