"""Objects of a bucket of S3, or of a server that speaks its protocol, as documents, with obstore (the extra `server`).

The server and who may use it come from the variables that the blob store reads as well: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID and its like, or the role of the machine; AWS_CA_BUNDLE names the authority of a private server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.documents.inputs.document import Input, refused, too_large
from orchestrator.documents.inputs.keys import BadKey, Objects, Seen, is_key
from orchestrator.documents.inputs.spool import MOST_BYTES, Fetched, Spool
from orchestrator.documents.lines import MIB, Unfit
from orchestrator.documents.packed.archives import safe_name
from orchestrator.errors import InvalidRequest

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CONNECT_WITHIN_S: Final = 3.0
ANSWER_WITHIN_S: Final = 60.0
"""For a page of the listing, or up to PART_BYTES of an object: a line of 1.2 Mbit/s takes so long."""
RETRIES: Final = 2
RETRY_WITHIN_S: Final = 10.0
PART_BYTES: Final = 8 * MIB
"""Of an object in one request."""

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REFUSED: Final = re.compile(r"status code: 40[13]\b|Unauthenticated|PermissionDenied|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and the keys in it that are meant."""

    bucket: str
    prefix: str
    """Without slashes at its ends: one object of that key, and all below it. Empty for the whole bucket."""


def place_of(url: str) -> Place:
    """The bucket and prefix that a URL names; raises InvalidRequest for one that names none."""
    bucket, _, prefix = url[len("s3://") :].partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidRequest(
            "A bucket is named as s3://BUCKET/PREFIX, without keys. Its server and keys go into AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if prefix and not is_key(prefix):
        raise InvalidRequest(
            "The prefix of a bucket must have no empty part, no `.` or `..`, and no control characters. Name another."
        )
    return Place(bucket, prefix)


def check_bucket(url: str) -> None:
    """Raise InvalidRequest for a URL that names no bucket, where obstore is not installed, and for settings that cannot be used."""
    _client(place_of(url))


def from_bucket(url: str, spool: Spool) -> Iterator[Input]:
    """Every object below a prefix as a document, named by its key there, listed a page at a time.

    Raises InvalidRequest where nothing can be listed at all; a listing that breaks later is told as a document of its own.
    """
    place = place_of(url)
    store = _client(place)
    is_empty = True
    try:
        for found in Objects(store).below(place.prefix):
            is_empty = False
            if isinstance(found, BadKey):
                yield refused(safe_name(_below(found.key, place)), found.unfit)
            else:
                yield _input_of(store, found, place, spool)
    except Exception as error:  # obstore raises its own, OSError and ValueError, by what the server said
        if is_empty:
            raise InvalidRequest(_fault(error, place)) from error
        message = f"The listing broke off here, and what follows is missing. {_fault(error, place)}"
        yield refused(f"s3://{place.bucket}", Unfit("unreadable_file", message))
        return
    if is_empty:
        raise InvalidRequest("There are no objects below that prefix. Check it: it is a whole key, or ends at a slash.")


def _below(key: str, place: Place) -> str:
    """The name of an object: its key below the prefix, or the end of it where it is the object that was named."""
    return key[len(place.prefix) :].lstrip("/") or key.rpartition("/")[2]


def _input_of(store: Any, found: Seen, place: Place, spool: Spool) -> Input:
    name = safe_name(_below(found.key, place))
    if found.size > MOST_BYTES:
        return refused(name, too_large(MOST_BYTES))
    fetched = Fetched(spool, partial(_pieces, store, found, place))
    return Input(name, fetched.open, done=fetched.done)


def _pieces(store: Any, found: Seen, place: Place) -> Generator[bytes, None, None]:
    """The bytes of an object as it was listed; raises Unfit where it changed, or cannot be had."""
    import obstore

    for start in range(0, found.size, PART_BYTES):
        end = min(start + PART_BYTES, found.size)
        try:
            answer = obstore.get(store, found.key, options={"range": (start, end), "if_match": found.tag})
            piece = answer.bytes().to_bytes()
        except Exception as error:
            raise Unfit("unreadable_file", _fault(error, place)) from error
        if len(piece) != end - start:
            raise Unfit("unreadable_file", "The object changed while it was read. Submit it again.")
        yield piece


def _client(place: Place) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError:
        raise InvalidRequest(
            "Buckets need obstore, which is not installed. Install it: pip install 'rightsize[server]', or copy the objects to "
            "a folder."
        ) from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=CONNECT_WITHIN_S),
        "timeout": timedelta(seconds=ANSWER_WITHIN_S),
        "allow_http": endpoint.startswith("http://"),
    }
    if authority := os.environ.get("AWS_CA_BUNDLE"):
        options["root_certificate"] = _certificates(Path(authority))
    retries: RetryConfig = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_WITHIN_S)}
    try:
        return S3Store(place.bucket, client_options=options, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise InvalidRequest("The AWS_* variables cannot be used. Check AWS_ENDPOINT_URL and AWS_CA_BUNDLE.") from error


def _certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"Cannot read AWS_CA_BUNDLE {path}: {error.strerror}. Give it a PEM file.") from error


def _fault(error: Exception, place: Place) -> str:
    """What an error of obstore means for people: only its text tells, and that may quote keys and headers."""
    said = str(error)
    if isinstance(error, Unfit):
        return error.message
    if "NoSuchBucket" in said:
        return f"There is no bucket {place.bucket}. Check its name, and AWS_ENDPOINT_URL."
    if isinstance(error, FileNotFoundError):
        return "The object vanished before it was read. Submit it again."
    if "Precondition" in type(error).__name__:
        return "The object changed after it was listed. Submit it again."
    if _REFUSED.search(said):
        return (
            f"The server refuses our keys for {place.bucket}, or there are none. Check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_REGION: they must be allowed to list the bucket and to get from it."
        )
    if "certificate" in said.lower():
        return "The certificate of the server is not trusted. Give its authority to AWS_CA_BUNDLE."
    return f"The server of {place.bucket} does not answer as it should. Check that it is up, and AWS_ENDPOINT_URL."
