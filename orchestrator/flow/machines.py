"""Machines: what the time of a machine that is priced by the hour is metered by, and how its books are closed.

The worker opens, sees and ends intervals of its time; the orchestrator ends those of workers that died, and closes the books
of what has ended. All of it is safe to run twice and by two processes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from orchestrator import machine_time
from orchestrator.crashpoints import reached
from orchestrator.flow.context import Context
from orchestrator.store import machines
from orchestrator.store.machines import Reading

MOST_ATTEMPTS: Final = 10_000
"""An interval ends early with so many: its books are closed in one transaction."""
LOADING: Final = "loading"
SERVING: Final = "serving"
DRAINING: Final = "draining"


def meter(context: Context, worker: UUID, readings: Sequence[Reading], kind: str) -> None:
    """Say that machines run, and begin their next interval where that is due.

    An interval that somebody ended because this worker was not heard of goes on in a new one, without a gap.
    """
    # Each in a transaction of its own: a flush holds the open intervals of all models of its worker.
    for reading in readings:
        with context.database.unit_of_work() as session:
            running = machines.seen(session, worker, reading, MOST_ATTEMPTS)
            if running is not None and _goes_on(context, running, reading, kind):
                continue
            if running is not None:
                machines.end_open(session, worker, reading)
            machines.open_next(session, worker, reading, kind, context.versions.prices)


def _goes_on(context: Context, running: machines.Running, reading: Reading, kind: str) -> bool:
    """Whether an open interval stays: it is of this kind, at today's price, and not due."""
    return (
        running.kind == kind
        and running.usd_per_hour == reading.usd_per_hour
        and not machine_time.is_due(
            age_s=running.age_s,
            busy_s=running.busy_s,
            attempts=running.attempts,
            interval_s=context.settings.machine_interval_s,
            most_attempts=MOST_ATTEMPTS,
        )
    )


def end(context: Context, worker: UUID, readings: Sequence[Reading]) -> None:
    """End the intervals of a worker whose engines are closed."""
    for reading in readings:
        with context.database.unit_of_work() as session:
            machines.end_open(session, worker, reading)


def close_ended(context: Context) -> int:
    """End the intervals of dead workers, then close the books of all that have ended; returns how many were closed."""
    with context.database.unit_of_work() as session:
        machines.end_abandoned(session, context.settings.lease_s)
    closed = 0
    while _close_one(context):
        closed += 1
    return closed


def _close_one(context: Context) -> bool:
    """Close the books of one interval, in one transaction; False if there is none."""
    with context.database.unit_of_work() as session:
        interval = machines.next_ended(session)
        if interval is None:
            return False
        found = machines.attempts(session, interval.id)
        span, weights = machines.span(interval)
        books = machine_time.close(span, [machines.served(one) for one in found], weights)
        machines.close(session, interval, found, books)
        reached("machines.before_commit")
    return True
