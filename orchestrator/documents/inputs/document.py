"""One document that is handed in: its name, and how its bytes are opened, wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from orchestrator.documents.lines import Unfit

PIECE: Final = 1 << 20


def _nothing() -> None:
    """What is to be done where no copy was made."""


@dataclass(frozen=True, slots=True)
class Input:
    """One document: its name below what was handed in, and where its bytes are."""

    name: str
    opens: Callable[[], BinaryIO]
    """Opens the bytes anew on each call; raises Unfit where that cannot be."""
    unfit: Unfit | None = None
    done: Callable[[], None] = _nothing
    """The copy that was made for it may go: it is not opened again."""

    def open(self) -> BinaryIO:
        """Its bytes; raises Unfit for what cannot be read."""
        if self.unfit is not None:
            raise self.unfit
        return self.opens()


@dataclass(frozen=True, slots=True)
class Known:
    """A document whose bytes were looked at once."""

    input: Input
    hash: str
    bytes: int
    unfit: Unfit | None = None


def refused(name: str, unfit: Unfit) -> Input:
    """A document that cannot be read, which is told in its place."""

    def opens() -> BinaryIO:
        raise unfit

    return Input(name, opens, unfit)


def too_large(most_bytes: int) -> Unfit:
    """That a document is larger than may be."""
    return Unfit(
        "file_too_large", f"A document may have at most {most_bytes:,} bytes, and this has more. Split or shrink it."
    )


def hashed(one: Input, most_bytes: int) -> Known:
    """A document with its hash; one that cannot be read, is empty or too large says why."""
    digest, size = "", 0
    try:
        with one.open() as stream:
            digest, size = hash_of(stream, most_bytes)
        if not size:
            raise Unfit("empty_file", "The file is empty. Give it some content, or leave it out.")
    except Unfit as unfit:
        return Known(one, digest, size, unfit)
    except OSError as error:
        unread = Unfit("unreadable_file", f"The file cannot be read: {error.strerror}. Check the disk.")
        return Known(one, digest, size, unread)
    return Known(one, digest, size)


def hash_of(stream: BinaryIO, most_bytes: int) -> tuple[str, int]:
    """The SHA-256 of what is left of a stream, as 64 hexadecimal digits, and its size; raises Unfit for one of more than that."""
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(PIECE):
        size += len(piece)
        if size > most_bytes:
            raise too_large(most_bytes)
        digest.update(piece)
    return digest.hexdigest(), size
