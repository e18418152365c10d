"""Upkeep: partitions ahead of time, and retention."""

from __future__ import annotations

from dataclasses import dataclass
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
BLOB_KEYS: Final = "SELECT blob_key FROM {table} WHERE blob_key IS NOT NULL AND stored_on >= :low AND stored_on < :high"
LONG: Final = text("SET LOCAL statement_timeout = '30min'")
"""It looks at every row of a week."""


@dataclass(frozen=True, slots=True)
class Week:
    """The partition of a table that holds one week's rows."""

    table: str
    name: str
    low: date
    """Its Monday."""

    @property
    def high(self) -> date:
        """The Monday after it."""
        return self.low + timedelta(weeks=1)


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


def past_retention(session: Session, keep_days: int) -> list[Week]:
    """Weekly partitions that ended more than `keep_days` ago; none while a job is open that was stored before then.

    Asked by a role that sees every tenant's jobs, which the owner need not.
    """
    today: date = session.execute(TODAY).scalar_one()
    limit = today - timedelta(days=keep_days)
    if session.execute(STILL_OPEN, {"before": limit}).scalar_one():
        return []
    weeks = [
        Week(table, name, date.fromisoformat(stamp))
        for table in PARTITIONED
        for name in sorted(session.execute(PARTITIONS, {"table": table}).scalars())
        if (stamp := name.rpartition("_")[2]).isdigit()
    ]
    return [week for week in weeks if week.high <= limit]


def blob_keys(session: Session, week: Week) -> list[str]:
    """The blobs that the rows of a weekly partition name: nobody knows them once it is dropped."""
    session.execute(LONG)
    values = {"low": week.low, "high": week.high}
    return list(session.execute(text(BLOB_KEYS.format(table=week.table)), values).scalars())


def drop(session: Session, week: Week) -> None:
    """Drop a weekly partition; only the owner may."""
    session.execute(BRIEFLY)
    session.execute(text(f"DROP TABLE IF EXISTS {week.name}"))
