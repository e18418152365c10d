"""What is looked at when a task is measured: one task in one period, within one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from orchestrator.flow.context import Context

WINDOW_DAYS: Final = 30
"""Within which compared and labelled jobs can be certified on."""


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when, by the day of a job's making (UTC)."""

    since: datetime
    until: datetime

    @classmethod
    def of_days(cls, since: date | None, until: date | None) -> Period:
        """Whole days, the last 30 where none is given; `until` is the last one."""
        today = datetime.now(UTC).date()
        last = until or today
        first = since or last - timedelta(days=29)
        return cls(_midnight(first), _midnight(last) + timedelta(days=1))

    def not_before(self, first: datetime | None) -> Period:
        """As much of it as lies after the first job that is looked at: of a busy service a count goes back less far than was asked."""
        return self if first is None or first <= self.since else Period(first, max(self.until, first))

    @property
    def days(self) -> float:
        """Its length, or as much of it as has passed."""
        return max(1.0, (min(self.until, datetime.now(UTC)) - self.since).total_seconds() / 86_400)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """One task in one period, within one transaction."""

    context: Context
    session: Session
    tenant_id: int
    task: str
    period: Period

    @property
    def key(self) -> tuple[Session, int, str, datetime, datetime]:
        """What the store's queries are asked with."""
        return self.session, self.tenant_id, self.task, self.period.since, self.period.until
