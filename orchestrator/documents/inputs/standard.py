"""Standard input as one document, or as an archive of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO, Final

from orchestrator.documents.containers import ZIP_MARKS
from orchestrator.documents.files import unreadable
from orchestrator.documents.inputs.document import Input, refused
from orchestrator.documents.inputs.paths import from_copy
from orchestrator.documents.inputs.spool import MOST_BYTES, Spool
from orchestrator.documents.kinds import packing_of
from orchestrator.documents.lines import Unfit
from orchestrator.documents.packed.unpacking import CHUNK_BYTES, Bounds

NAME: Final = "stdin"
MOST_ARCHIVE_BYTES: Final = Bounds().max_unpacked_bytes
"""Of an archive: a larger one could not be unpacked either."""
_HEAD_BYTES: Final = 512


def from_stdin(stream: BinaryIO, spool: Spool) -> Iterator[Input]:
    """The document that comes through a pipe, copied since a pipe cannot go back."""
    try:
        head = _head(stream)
        is_packed = head.startswith(ZIP_MARKS) or packing_of(head) is not None
        pieces = itertools.chain([head], _pieces(stream))
        copy = spool.keep(pieces, MOST_ARCHIVE_BYTES if is_packed else MOST_BYTES)
    except Unfit as unfit:
        yield refused(NAME, unfit)
        return
    yield from from_copy(copy, NAME, spool)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes: a pipe gives fewer at once than it is asked for."""
    head = b""
    while len(head) < _HEAD_BYTES and (piece := _read(stream, _HEAD_BYTES - len(head))):
        head += piece
    return head


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := _read(stream, CHUNK_BYTES):
        yield piece


def _read(stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except (OSError, ValueError) as error:
        raise unreadable(error, "standard input") from error
