"""Upkeep: what is old is forgotten, files past their time go with their blobs, and weekly partitions are made and dropped.

One function for each kind. What a blob store or a backup holds up is tried again at the next upkeep. The audit log is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from orchestrator.crashpoints import reached
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow.context import Context
from orchestrator.flow.erasing import deleted
from orchestrator.store import dispatches, examination, files, refusals, review, single, webhooks, workers
from orchestrator.store import upkeep as partitions
from orchestrator.store.rightsizing import audits, labels
from orchestrator.store.session import Database
from orchestrator.store.upkeep import Week
from orchestrator.telemetry import log, log_fault

CHUNK: Final = 1_000
"""Blobs between two looks whether to stop."""
HALF_WRITTEN_S: Final = 86_400
"""No upload and no batch's file takes so long."""
SWEPT: Final = ("bodies", "results", "inputs")
"""What the keys of blobs begin with that a lost process may leave."""
SPARED_DAYS: Final = 7
"""Beyond the retention: by then each row and each backup that could know a job's blob is gone."""

Stopping = Callable[[], bool]
"""Whether the process is told to stop."""


def run(context: Context, stopping: Stopping) -> None:
    """All of it, one kind after the other; ends early, between two chunks of any kind, when the process is told to stop.

    A kind that fails does not keep the others from their turn. Raises ServiceUnavailable when the database does not answer.
    """
    for step in STEPS:
        try:
            step(context, stopping)
        except ServiceUnavailable:
            raise
        except Exception as error:
            log_fault("pass_failed", error, step=step.__name__)


def renew_partitions(context: Context, stopping: Stopping) -> None:
    """Make the weeks to come, and drop those past the retention."""
    with closing(Database(context.settings, "owner", connections=1)) as owner:
        made = add_partitions(owner)
        dropped = drop_partitions(context, owner, stopping)
    if made or dropped:
        log("partitions", made=made, dropped=dropped)


def forget_workers(context: Context, _: Stopping) -> None:
    """Forget workers that were not seen for an hour."""
    with context.database.unit_of_work() as session:
        workers.forget_old(session)


def forget_dispatches(context: Context, stopping: Stopping) -> None:
    """Forget dispatches that ended over an hour ago."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not dispatches.forget_ended(session):
                return


def forget_idempotency_keys(context: Context, stopping: Stopping) -> None:
    """Forget idempotency keys past the retention."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not single.forget_keys(session, context.settings.retention_days):
                return


def forget_webhooks(context: Context, stopping: Stopping) -> None:
    """Forget events that were delivered or are dead, past the retention."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not webhooks.forget(session, context.settings.retention_days):
                return


def forget_refusals(context: Context, stopping: Stopping) -> None:
    """Forget refused messages past the retention, and those beyond the newest twenty thousand."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not refusals.forget(session, context.settings.retention_days):
                return


def forget_evidence(context: Context, stopping: Stopping) -> None:
    """Forget labels and audits past the retention: what certificates were issued on stays with these as hashes."""
    for forget in (labels.forget, audits.forget):
        while not stopping():
            with context.database.unit_of_work() as session:
                if not forget(session, context.settings.retention_days):
                    break


def forget_reviews(context: Context, stopping: Stopping) -> None:
    """Forget what people said of answers that are past the retention and gone."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not review.forget(session, context.settings.retention_days):
                return


def expire_files(context: Context, stopping: Stopping) -> None:
    """Say that files are gone whose own time is up, or their tenant's retention."""
    while not stopping():
        with context.database.unit_of_work() as session:
            if not files.expire(session, context.settings.retention_days):
                return


def erase_files(context: Context, stopping: Stopping) -> None:
    """Delete the blobs of files that are gone, then note that they are: whoever dies in between leaves it to the next."""
    while not stopping():
        with context.database.unit_of_work() as session:
            gone = files.to_erase(session)
        if not gone or not deleted(context.blobs, [key for _, key in gone]):
            return
        reached("upkeep.after_erase")
        with context.database.unit_of_work() as session:
            files.erased(session, [file_id for file_id, _ in gone])


def sweep_blobs(context: Context, _: Stopping) -> None:
    """Remove what killed processes were writing a day ago."""
    try:
        context.blobs.sweep(HALF_WRITTEN_S)
    except ServiceUnavailable as error:
        log("blobs_away", logging.WARNING, detail=error.message)


def erase_orphans(context: Context, stopping: Stopping) -> int:
    """Delete bodies, results and inputs past the retention that no row knows; returns how many. It looks at every blob: once a day is enough.

    A process that was killed leaves such blobs, between a refusal or a drop and their deletion. What is younger is left: whoever
    restores a database beside this one, on the same blobs, loses nothing that the retention would not have taken.
    """
    erased = 0
    for kind in SWEPT:
        aged = _aged(context, kind, stopping)
        while keys := list(islice(aged, CHUNK)):
            with context.database.unit_of_work() as session:
                strays = examination.orphans(session, keys)
            if stopping() or not deleted(context.blobs, strays):
                return erased
            erased += len(strays)
    return erased


def _aged(context: Context, kind: str, stopping: Stopping) -> Iterator[str]:
    """The keys of one kind that are older than any row may be, as far as their store tells them."""
    before = datetime.now(UTC) - timedelta(days=context.settings.retention_days + SPARED_DAYS)
    try:
        for one in context.blobs.keys(kind):
            if stopping():
                return
            if one.modified < before:
                yield one.key
    except ServiceUnavailable as error:
        log("blobs_away", logging.WARNING, detail=error.message)


def add_partitions(owner: Database) -> list[str]:
    """Make the partitions of the weeks to come; returns their names."""
    try:
        with owner.unit_of_work() as session:
            return partitions.add_partitions(session)
    except ServiceUnavailable as error:
        _put_off(error)
        return []


def drop_partitions(context: Context, owner: Database, stopping: Stopping) -> list[str]:
    """Drop the weeks past the retention, then the blobs that their rows named; returns the names of the partitions.

    A blob is deleted once the drop has committed. Whoever dies before that leaves it to `erase_orphans`.
    """
    with context.database.unit_of_work() as session:
        weeks = partitions.past_retention(session, context.settings.retention_days)
    dropped = []
    for week in weeks:
        if stopping():
            break
        try:
            keys = _drop(context, owner, week)
        except ServiceUnavailable as error:
            _put_off(error)
            break
        dropped.append(week.name)
        reached("upkeep.after_drop")
        for at in range(0, len(keys), CHUNK):
            if stopping() or not deleted(context.blobs, keys[at : at + CHUNK]):
                break
    return dropped


def _drop(context: Context, owner: Database, week: Week) -> list[str]:
    """Drop a week; returns the blobs that its rows named."""
    with context.database.unit_of_work() as session:
        keys = partitions.blob_keys(session, week)
    with owner.unit_of_work() as session:
        partitions.drop(session, week)
    return keys


def _put_off(error: ServiceUnavailable) -> None:
    """Leave a table to the next upkeep: a backup holds it, for instance, and waiting for it would hold up everybody behind us."""
    log("database_away", logging.WARNING, detail=error.message)


STEPS: Final = (
    forget_workers, forget_dispatches, forget_idempotency_keys, forget_webhooks, forget_refusals, expire_files, erase_files, sweep_blobs,
    renew_partitions, forget_reviews, forget_evidence,
)  # fmt: skip
"""In the order in which they run."""
