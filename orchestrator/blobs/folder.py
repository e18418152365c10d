"""Blobs in a folder: this machine's, or one that several machines share.

A blob is written under a temporary name, flushed to the disk, and renamed when it is whole. obstore's local store is not used
here: it never flushes to the disk (0.12), so that a power cut could leave a key with half a blob.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.blobs.base import PIECE_BYTES, BlobStore, Stored, checked_key, checked_prefix, gone, is_key
from orchestrator.errors import BlobsAway

_TEMPORARY: Final = ".writing-"
_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)


class FolderBlobs(BlobStore):
    """Blobs as the files of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)

    def free_bytes(self) -> int:
        """What is free on the disk of the folder."""
        try:
            return shutil.disk_usage(next(place for place in (self.root, *self.root.parents) if place.exists())).free
        except OSError as error:
            raise _unusable(self.root, error) from error

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file to write a blob into; it gets its key when the block ends, and vanishes if the block raises."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        except OSError as error:
            raise _unusable(self.root, error) from error
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError as error:
            raise _unusable(self.root, error) from error
        finally:
            Path(temporary).unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """The bytes of a blob."""
        with self.reading(key) as file:
            return file.read()

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """A file to read a blob from."""
        try:
            file = self._path(key).open("rb")
        except _NOT_THERE as error:
            raise gone() from error
        except OSError as error:
            raise _unusable(self.root, error) from error
        with file:
            yield file

    def size(self, key: str) -> int:
        """How many bytes a blob has."""
        try:
            found = self._path(key).stat()
        except _NOT_THERE as error:
            raise gone() from error
        except OSError as error:
            raise _unusable(self.root, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise gone()
        return found.st_size

    def pieces(self, key: str, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of a blob from `start` to before `end`, PIECE_BYTES at once."""
        with self.reading(key) as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(PIECE_BYTES, end - start))
                if not piece:
                    raise gone()
                start += len(piece)
                yield piece

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is fine."""
        try:
            self._path(key).unlink()
        except _NOT_THERE:
            return
        except OSError as error:
            raise _unusable(self.root, error) from error

    def keys(self, prefix: str) -> Iterator[Stored]:
        """All blobs whose keys begin with these parts."""
        for path in self._files(self.root / checked_prefix(prefix)):
            key = path.relative_to(self.root).as_posix()
            if not is_key(key):
                continue
            try:
                found = path.stat()
            except _NOT_THERE:  # it was removed meanwhile
                continue
            yield Stored(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def sweep(self, older_than_s: float) -> int:
        """Remove temporary files of killed writers, which nobody has written to for so long."""
        oldest, removed = time.time() - older_than_s, 0
        for path in self._files(self.root):
            if not path.name.startswith(_TEMPORARY):
                continue
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except _NOT_THERE:  # its writer ended meanwhile
                continue
            except OSError as error:
                raise _unusable(self.root, error) from error
        return removed

    def _files(self, folder: Path) -> Iterator[Path]:
        for place, _, names in os.walk(folder, onerror=self._unwalkable):
            yield from (Path(place, name) for name in names)

    def _unwalkable(self, error: OSError) -> None:
        """A folder that is not there has no files; one that cannot be read must not pass for empty."""
        if not isinstance(error, _NOT_THERE):
            raise _unusable(self.root, error) from error

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)


def _unusable(root: Path, error: OSError) -> BlobsAway:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BlobsAway(f"The disk that holds {root} is full. Free some space, then try again.", retry_after_s=30.0)
    return BlobsAway(f"Cannot use {root}: {error.strerror}. Check that the folder exists and may be written and read.")
