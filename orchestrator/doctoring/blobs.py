"""The blobs, held against the rows that know them. A bounded number is looked at, and it is said how many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from orchestrator import ids
from orchestrator.blobs import BlobStore, Stored
from orchestrator.doctoring.finding import Finding, tried
from orchestrator.errors import NotFound, RightsizeError
from orchestrator.settings import MIB
from orchestrator.store import examination
from orchestrator.store.session import Database

KINDS: Final = ("inputs", "batches", "bodies", "results")
"""What blob keys begin with."""
MOST_OF_KIND: Final = 2_000
MOST_FILES: Final = 1_000
AT_ONCE: Final = 8
AGED_S: Final = 86_400
"""From this age on a blob without a row has none to come, and what is still being written has no writer."""
FULL_BYTES: Final = 64 * MIB
"""Below it `/readyz` says no."""
SCARCE_BYTES: Final = 2_048 * MIB
SHOWN: Final = 5


def examine(blobs: BlobStore, database: Database) -> Iterator[Finding]:
    """Room, writings that were never ended, blobs that no row knows, and files whose blob is not there."""
    yield from _room(blobs)
    yield from _interrupted(blobs)
    yield tried("orphans", lambda: _orphans(blobs, database))
    yield _missing(blobs, database)


def _room(blobs: BlobStore) -> Iterator[Finding]:
    try:
        free = blobs.free_bytes()
    except RightsizeError as error:
        yield Finding("disk", False, error.message)
        return
    if free is not None and free < SCARCE_BYTES:
        told = f"The disk of {blobs.place} has {free // MIB} MiB left. Make room on it"
        yield Finding(
            "disk",
            free >= FULL_BYTES,
            f"{told}: uploads and large results find none soon." if free >= FULL_BYTES else f"{told} now.",
        )


def _interrupted(blobs: BlobStore) -> Iterator[Finding]:
    """Writings of killed processes go with this look, as with the orchestrator's own upkeep."""
    found = tried("interrupted", lambda: str(blobs.sweep(AGED_S)))
    if not found.holds:
        yield found
    elif found.detail != "0":
        yield Finding("interrupted", True, f"removed {found.detail} half-written blobs of killed processes")


def _orphans(blobs: BlobStore, database: Database) -> str:
    before = datetime.now(UTC) - timedelta(seconds=AGED_S)
    looked, strays = 0, list[Stored]()
    for kind in KINDS:
        stored = list(islice(blobs.keys(kind), MOST_OF_KIND))
        looked += len(stored)
        aged = {one.key: one for one in stored if one.modified < before}
        with database.unit_of_work() as session:
            known = examination.known_keys(session, list(aged))
        strays += [one for key, one in aged.items() if key not in known]
    if not strays:
        return f"each of the {looked:,} blobs that were looked at is known, or younger than a day"
    size = sum(one.size_bytes for one in strays)
    return (
        f"{len(strays):,} of the {looked:,} blobs that were looked at are known to no row ({size // MIB:,} MiB), such as "
        f"{_some([one.key for one in strays])}. They harm nobody: bodies and results go by "
        "themselves a week past retention_days; delete any where you need the room."
    )


def _missing(blobs: BlobStore, database: Database) -> Finding:
    """Files that callers see and cannot read. What was deleted while we looked is asked about once more."""
    try:
        with database.unit_of_work() as session:
            served = examination.served_files(session, MOST_FILES)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rightsize-doctor") as pool:
            there = list(pool.map(lambda row: _is_there(blobs, row.blob_key), served))
        gone = [row.blob_key for row, found in zip(served, there, strict=True) if not found]
        with database.unit_of_work() as session:
            lost = examination.still_served(session, gone)
    except RightsizeError as error:
        return Finding("files", False, error.message)
    if not lost:
        return Finding("files", True, f"each of the {len(served):,} files that were looked at has its blob")
    return Finding(
        "files",
        False,
        f"{len(lost):,} of the {len(served):,} files that were looked at have no blob in {blobs.place}, such as "
        f"{_some([ids.public('file', row.public_id) for row in lost])}. Are these the blobs of this database? Restore them "
        "from a backup, or delete the files: `rightsize files delete ID`.",
    )


def _is_there(blobs: BlobStore, key: str) -> bool:
    try:
        blobs.size(key)
    except NotFound:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
