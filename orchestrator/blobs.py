"""Input files, output files and large bodies: a key, and a place that holds the bytes.

The place is a shared folder now; an S3-compatible one can follow behind the same five verbs. A blob is written under a
temporary name and renamed when it is whole, so that a key never names half a file.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.errors import Broken, NotFound, ServiceUnavailable

_KEY: Final = re.compile(r"[a-z0-9_-]+(/[a-z0-9_.-]+)+")


class BlobStore:
    """Blobs in one folder that every process of the installation can reach."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def free_bytes(self) -> int:
        """What is free on the disk of the blobs; raises ServiceUnavailable when it cannot be looked at."""
        try:
            return shutil.disk_usage(next(place for place in (self.root, *self.root.parents) if place.exists())).free
        except OSError as error:
            raise _unwritable(self.root, error) from error

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file to write a blob into; it gets its key when the block ends, and vanishes if the block raises.

        Raises ServiceUnavailable when the disk is full or the folder cannot be written.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        except OSError as error:
            raise _unwritable(self.root, error) from error
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError as error:
            raise _unwritable(self.root, error) from error
        finally:
            Path(temporary).unlink(missing_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Store a small blob."""
        with self.writing(key) as file:
            file.write(data)

    def get(self, key: str) -> bytes:
        """The bytes of a blob; raises NotFound if it is gone."""
        with self.reading(key) as file:
            return file.read()

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """A file to read a blob from; raises NotFound if it is gone."""
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError as error:
            raise NotFound(
                "The content of this file is gone: its retention ended, or the blob folder was moved."
            ) from error
        with file:
            yield file

    def path(self, key: str) -> Path:
        """Where a blob lies, for a server that can send a file by itself; raises NotFound if it is gone."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound("The content of this file is gone: its retention ended, or the blob folder was moved.")
        return path

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is fine."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key) or ".." in key:
            raise Broken(f"Not a blob key: {key[:80]!r}. Keys are made by the server only.")
        return self.root / key


def _unwritable(root: Path, error: OSError) -> ServiceUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ServiceUnavailable(
            f"The disk that holds {root} is full. Free some space, then try again.", retry_after_s=30.0
        )
    return ServiceUnavailable(
        f"Cannot write to {root}: {error.strerror}. Check that the folder exists and may be written."
    )
