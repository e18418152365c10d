"""Upkeep: partitions ahead of time, and retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

PARTITIONED: Final = ("job_requests", "results")
WEEKS_AHEAD: Final = 2
BRIEFLY: Final = text("SET LOCAL lock_timeout = '500ms'")
"""Everybody queues behind who waits to change a table."""
TODAY: Final = text("SELECT (now() AT TIME ZONE 'UTC')::date")
PARTITIONS: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass)"
)
IN_REST: Final = "SELECT EXISTS (SELECT FROM {table}_rest WHERE stored_on >= :low AND stored_on < :high)"
STILL_OPEN: Final = text("SELECT EXISTS (SELECT FROM jobs WHERE state < 10 AND stored_on < :before)")


def add_partitions(session: Session) -> list[str]:
    """Make the weekly partitions of this week and the next two where they are missing; returns their names.

    Rows of a week without a partition stay in the default partition; such a week is left as it is.
    """
    session.execute(BRIEFLY)
    today: date = session.execute(TODAY).scalar_one()
    monday = today - timedelta(days=today.weekday())
    made = []
    for table in PARTITIONED:
        there = set(session.execute(PARTITIONS, {"table": table}).scalars())
        for week in range(WEEKS_AHEAD + 1):
            low = monday + timedelta(weeks=week)
            high = low + timedelta(weeks=1)
            name = f"{table}_{low:%Y%m%d}"
            if (
                name in there
                or session.execute(text(IN_REST.format(table=table)), {"low": low, "high": high}).scalar_one()
            ):
                continue
            session.execute(text(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"))
            made.append(name)
    return made


def is_open_before(session: Session, day: date) -> bool:
    """Whether a job is open that was stored before a day; asked by a role that sees every tenant's, which the owner does not."""
    return bool(session.execute(STILL_OPEN, {"before": day}).scalar_one())


def drop_partitions(session: Session, keep_days: int, is_open: Callable[[date], bool]) -> list[str]:
    """Drop weekly partitions that ended more than `keep_days` ago, unless a job is open that was stored before then."""
    session.execute(BRIEFLY)
    today: date = session.execute(TODAY).scalar_one()
    limit = today - timedelta(days=keep_days)
    if is_open(limit):
        return []
    dropped = []
    for table in PARTITIONED:
        for name in sorted(session.execute(PARTITIONS, {"table": table}).scalars()):
            stamp = name.rpartition("_")[2]
            if stamp.isdigit() and date.fromisoformat(stamp) + timedelta(weeks=1) <= limit:
                session.execute(text(f"DROP TABLE {name}"))
                dropped.append(name)
    return dropped
