"""Blobs in a bucket of S3 or of a server that speaks its protocol (MinIO, Ceph, R2), over obstore.

Where the server is and who may use it comes from the variables that AWS's own tools read: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID and its like, or the role of the machine; AWS_CA_BUNDLE names the authority of a private server.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from orchestrator.blobs.base import PIECE_BYTES, BlobStore, Stored, checked_key, checked_prefix, gone, is_key
from orchestrator.errors import BlobsAway, InvalidConfig, NotFound, RightsizeError
from orchestrator.settings import MIB

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ClientConfig, RetryConfig

CONNECT_WITHIN_S: Final = 3.0
ANSWER_WITHIN_S: Final = 5.0
"""For a request that carries next to nothing."""
CARRY_WITHIN_S: Final = 60.0
"""For one that carries up to PART_BYTES: a line of 2.5 Mbit/s takes so long for all that is under way at once."""
RETRY_WITHIN_S: Final = 10.0
RETRIES: Final = 2
SMALL_BYTES: Final = 64 * 1024
PART_BYTES: Final = 8 * MIB
"""A larger blob is sent in parts of this size. The protocol allows 10,000 of them: 78 GiB a blob."""
PARTS_AT_ONCE: Final = 2
"""Parts on their way while the next one is filled; a writer holds no more in memory."""
LISTED_AT_ONCE: Final = 1_000

_URL: Final = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[\w-][\w.-]*(?:/[\w-][\w.-]*)*))?/?"
)
_REFUSED: Final = re.compile(r"status code: 40[13]\b|Unauthenticated|credential", re.IGNORECASE)
_FULL: Final = re.compile(r"status code: 507\b|StorageFull|QuotaExceeded")


class S3Blobs(BlobStore):
    """Blobs as the objects of one bucket, under a prefix if the URL has one: `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        """Raises InvalidConfig for a URL that names no bucket, and for AWS variables that cannot be used."""
        named = _URL.fullmatch(url)
        if named is None:
            raise InvalidConfig(
                "RIGHTSIZE_BLOB_URL must be s3://BUCKET or s3://BUCKET/PREFIX. "
                "The server's address and keys go into AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        self.place = url.rstrip("/")
        self._prompt = _client(named["bucket"], named["prefix"], ANSWER_WITHIN_S)
        self._patient = _client(named["bucket"], named["prefix"], CARRY_WITHIN_S)

    def free_bytes(self) -> None:
        """Nobody can tell: a bucket has no size."""
        return

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file to write a blob into; it gets its key when the block ends, and its parts are dropped if the block raises.

        Parts of a writer that is killed, or cannot end, stay unseen in the bucket until a rule of the bucket drops them.
        """
        upload = obstore.open_writer(
            self._patient, checked_key(key), buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )
        file = _Upload(upload, self._fault)
        try:
            yield cast("BinaryIO", file)
        except BaseException as error:
            with suppress(BaseError, OSError):  # what cannot be dropped now is left to the bucket's rule
                upload.__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            file.close()
        with self._asking():
            upload.close()

    def put(self, key: str, data: bytes) -> None:
        """Store a small blob in one request."""
        if len(data) > PART_BYTES:
            super().put(key, data)
            return
        client = self._prompt if len(data) <= SMALL_BYTES else self._patient
        with self._asking():
            obstore.put(client, checked_key(key), data, use_multipart=False)

    def get(self, key: str) -> bytes:
        """The bytes of a blob, in one request if it is no larger than a part."""
        with self._asking():
            found = obstore.get(self._patient, checked_key(key))
            size = found.meta["size"]
            if size <= PART_BYTES:
                return found.bytes().to_bytes()
        return b"".join(self.pieces(key, 0, size))

    @contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """A file to read a blob from; each MiB is a request, so that no connection waits for a slow reader."""
        size = self.size(key)
        with io.BufferedReader(_Download(lambda start, end: self._range(key, start, end), size), MIB) as file:
            yield file

    def size(self, key: str) -> int:
        """How many bytes a blob has."""
        with self._asking():
            return obstore.head(self._prompt, checked_key(key))["size"]

    def pieces(self, key: str, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of a blob from `start` to before `end`, PIECE_BYTES at once."""
        for at in range(start, end, PIECE_BYTES):
            yield self._range(key, at, min(at + PIECE_BYTES, end))

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone already is fine."""
        with suppress(NotFound), self._asking():
            obstore.delete(self._prompt, checked_key(key))

    def keys(self, prefix: str) -> Iterator[Stored]:
        """All blobs whose keys begin with these parts."""
        with self._asking():
            for listed in obstore.list(self._patient, checked_prefix(prefix), chunk_size=LISTED_AT_ONCE):
                for one in listed:
                    if is_key(one["path"]):
                        yield Stored(one["path"], one["size"], one["last_modified"])

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002 - the same in every place
        """Nothing: a rule of the bucket drops the parts of killed writers (docs/deploy/several-hosts.md)."""
        return 0

    def _range(self, key: str, start: int, end: int) -> bytes:
        with self._asking():
            found = obstore.get_range(self._patient, checked_key(key), start=start, end=end).to_bytes()
        if len(found) != end - start:
            raise gone()
        return found

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What obstore raises, as an error of ours."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> RightsizeError:
        """What an error means for people. Only its text tells: a writer raises every one as OSError."""
        said = str(error)
        if "NoSuchBucket" in said:
            return BlobsAway(f"There is no bucket for {self.place}. Create it, or mend RIGHTSIZE_BLOB_URL.")
        if isinstance(error, FileNotFoundError):
            return gone()
        if _FULL.search(said):
            return BlobsAway(f"The store of {self.place} is full. Free some space, then try again.", retry_after_s=30.0)
        if _REFUSED.search(said):
            return BlobsAway(
                f"{self.place} refuses our keys, or there are none. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                "AWS_REGION, or the machine's role: it must be allowed to list the bucket, and to get, put and delete in it."
            )
        if "certificate" in said.lower():
            return BlobsAway(
                f"The certificate of the server of {self.place} is not trusted. Give its authority to AWS_CA_BUNDLE."
            )
        return BlobsAway(
            f"The server of {self.place} does not answer as it should. Check that it is up, and AWS_ENDPOINT_URL."
        )


def _client(bucket: str, prefix: str | None, within_s: float) -> S3Store:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=CONNECT_WITHIN_S),
        "timeout": timedelta(seconds=within_s),
        "allow_http": endpoint.startswith("http://"),
    }
    if authority := os.environ.get("AWS_CA_BUNDLE"):
        options["root_certificate"] = _certificates(Path(authority))
    retries: RetryConfig = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_WITHIN_S)}
    try:
        # Deleting in bulk is what several servers lack, and we delete one by one.
        return S3Store(bucket, prefix=prefix, client_options=options, retry_config=retries, disable_bulk_delete=True)
    except (BaseError, ValueError) as error:
        raise InvalidConfig("The AWS_* variables cannot be used. Check AWS_ENDPOINT_URL and AWS_CA_BUNDLE.") from error


def _certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"Cannot read AWS_CA_BUNDLE {path}: {error.strerror}. Give it a PEM file.") from error


class _Upload(io.RawIOBase):
    """What a block writes into: obstore gathers it into parts and sends them."""

    def __init__(self, upload: WritableFile, fault: Callable[[Exception], RightsizeError]) -> None:
        self._upload, self._fault = upload, fault
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Take all of `data`, which may be any buffer."""
        if self.closed:
            raise ValueError("The blob is written already.")
        try:
            taken = self._upload.write(data)
        except (BaseError, OSError) as error:
            raise self._fault(error) from error
        self._written += taken
        return taken

    def tell(self) -> int:
        return self._written


class _Download(io.RawIOBase):
    """What a reader's buffer is filled from."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size = fetch, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer)
        end = min(self._at + min(len(into), PART_BYTES), self._size)
        if end <= self._at:
            return 0
        found = self._fetch(self._at, end)
        into[: len(found)] = found
        self._at = end
        return len(found)

    def readall(self) -> bytes:
        rest = [self._fetch(at, min(at + PART_BYTES, self._size)) for at in range(self._at, self._size, PART_BYTES)]
        self._at = max(self._at, self._size)
        return b"".join(rest)
