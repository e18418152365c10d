"""What is handed in as documents: files and folders, each with the hash of its bytes; what cannot be read is found as well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.documents.files import open_regular, walk
from orchestrator.documents.lines import Unfit

PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Input:
    """One document: its name below what was handed in, and where its bytes are."""

    name: str
    path: Path
    follow: bool = False
    """Whether a link is followed: only what was named itself."""
    unfit: Unfit | None = None

    def open(self) -> BinaryIO:
        """Its bytes; raises Unfit for what is no regular file."""
        if self.unfit is not None:
            raise self.unfit
        return open_regular(self.path, follow=self.follow)


@dataclass(frozen=True, slots=True)
class Known:
    """A document whose bytes were looked at once."""

    input: Input
    hash: str
    bytes: int
    unfit: Unfit | None = None


def inputs_of(path: Path) -> Iterator[Input]:
    """Every document of a file, or of a folder and all below it, by name."""
    if not path.is_dir():
        yield Input(path.name, path, follow=True)
        return
    for found in walk(path):
        yield Input(found.name, found.path, unfit=found.unfit)


def hashed(one: Input, most_bytes: int) -> Known:
    """A document with its hash; one that cannot be read, is empty or too large says why."""
    digest, size = hashlib.sha256(), 0
    try:
        with one.open() as stream:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > most_bytes:
                    raise Unfit(
                        "file_too_large",
                        f"A document may have at most {most_bytes:,} bytes, and this has more. Split or shrink it.",
                    )
                digest.update(piece)
        if not size:
            raise Unfit("empty_file", "The file is empty. Give it some content, or leave it out.")
    except Unfit as unfit:
        return Known(one, digest.hexdigest(), size, unfit)
    except OSError as error:
        return Known(
            one,
            digest.hexdigest(),
            size,
            Unfit("unreadable_file", f"The file cannot be read: {error.strerror}. Check the disk."),
        )
    return Known(one, digest.hexdigest(), size)
