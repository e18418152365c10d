"""What a blob store is, in whichever place: one conformance suite checks both (`tests/blobs/`).

A key is written once. It names a whole blob or none: a writer that fails or dies leaves nothing under it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, Final, NamedTuple
from uuid import uuid4

from orchestrator.errors import BlobsAway, Broken, NotFound

PIECE_BYTES: Final = 512 * 1024
"""The most that `pieces` yields at once: while one is sent the next may be fetched, and both are within a MiB."""

# No part begins with a dot: so temporary files have no key, and no key leads out of the place.
_PART: Final = r"[a-z0-9_-][a-z0-9_.-]*"
_KEY: Final = re.compile(rf"{_PART}(?:/{_PART})+")
_PREFIX: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_PROBE: Final = b"ok"


class Stored(NamedTuple):
    """A blob that is there."""

    key: str
    size_bytes: int
    modified: datetime
    """With its time zone, by the clock of the place."""


class BlobStore(ABC):
    """Blobs in a place that every process of the installation can reach. Its methods may be called from any thread.

    All of them raise BlobsAway, with what to do, when the place cannot be reached, written or read, or is full, and
    none waits without a bound. Those that read raise NotFound if the blob is gone.
    """

    place: str
    """Where the blobs are, for people."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """What is free in the place, or None where that cannot be known."""

    @abstractmethod
    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A file to write a blob into; it gets its key when the block ends, and vanishes if the block raises."""

    def put(self, key: str, data: bytes) -> None:
        """Store a small blob."""
        with self.writing(key) as file:
            file.write(data)

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The bytes of a blob."""

    @abstractmethod
    def reading(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A file to read a blob from, which is fetched as it is read."""

    @abstractmethod
    def size(self, key: str) -> int:
        """How many bytes a blob has."""

    @abstractmethod
    def pieces(self, key: str, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of a blob from `start` to before `end`, neither of them beyond its size, PIECE_BYTES at once.

        Whoever does not take them all closes the generator.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is fine."""

    @abstractmethod
    def keys(self, prefix: str) -> Iterator[Stored]:
        """All blobs whose keys begin with one or more whole parts, such as `inputs`, in no order.

        What has no key is left out: what others put there, and blobs that are still being written. There is no listing of
        everything, since trained specialists lie in the same folder and are no blobs.
        """

    @abstractmethod
    def sweep(self, older_than_s: float) -> int:
        """Remove what killed writers left so long ago; returns how many there were."""

    def check(self) -> None:
        """Write, read and remove a blob; raises BlobsAway if that does not work."""
        key = f"checks/{uuid4().hex}"
        self.put(key, _PROBE)
        try:
            found = self.get(key)
        except NotFound:
            found = b""
        self.delete(key)
        if found != _PROBE:
            raise BlobsAway(
                f"What is written to {self.place} does not come back. Check that nothing else removes or changes files there."
            )


def checked_key(key: str) -> str:
    """A key, if it is one; raises Broken if not."""
    if not is_key(key):
        raise Broken(f"Not a blob key: {key[:80]!r}. Keys are made by the server only.")
    return key


def is_key(key: str) -> bool:
    """Whether a blob may have this key."""
    return _KEY.fullmatch(key) is not None


def checked_prefix(prefix: str) -> str:
    """What keys may begin with, if it is that; raises Broken if not."""
    if not _PREFIX.fullmatch(prefix):
        raise Broken(f"Not the beginning of blob keys: {prefix[:80]!r}. Name whole parts, such as `inputs`.")
    return prefix


def gone() -> NotFound:
    """What is said of a blob that is not there."""
    return NotFound("The content of this file is gone: its retention ended, or the blobs were moved.")
