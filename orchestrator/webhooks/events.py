"""What an event says: OpenAI's form, for OpenAI's types of batches and our own (pure).

A payload is made once and kept: every attempt sends the same bytes. It holds ids and no content; whoever wants to know more
reads the batch or job with a key of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import orjson

from orchestrator.contracts import BatchStatus, JobState


class EventType(StrEnum):
    """What an endpoint may subscribe to. The first four are OpenAI's."""

    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    BUDGET_ALERT = "rightsize.budget.alert"
    JOB_ENDED = "rightsize.job.ended"
    WEBHOOK_TEST = "rightsize.webhook.test"


OF_BATCH: Final[Mapping[BatchStatus, EventType]] = {
    BatchStatus.COMPLETED: EventType.BATCH_COMPLETED,
    BatchStatus.FAILED: EventType.BATCH_FAILED,
    BatchStatus.EXPIRED: EventType.BATCH_EXPIRED,
    BatchStatus.CANCELLED: EventType.BATCH_CANCELLED,
}
"""The event of each status that a batch may end in."""


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A budget of which so much is spent or held that somebody should know."""

    scope: str
    """What the budget is of, such as `project`."""
    scope_id: str
    """The public id of that."""
    period: str
    percent: int
    """The threshold that was passed."""
    limit_usd: Decimal
    spent_usd: Decimal
    held_usd: Decimal


def batch_ended(event_id: str, created_at: int, batch_id: str, status: BatchStatus) -> bytes:
    """The payload that says that a batch ended, at `created_at` (Unix seconds)."""
    return _payload(OF_BATCH[status], event_id, created_at, {"id": batch_id})


def job_ended(event_id: str, created_at: int, job_id: str, state: JobState) -> bytes:
    """The payload that says that a job ended, and in which state."""
    return _payload(EventType.JOB_ENDED, event_id, created_at, {"id": job_id, "state": state.label})


def budget_alert(event_id: str, created_at: int, alert: BudgetAlert) -> bytes:
    """The payload that says that a budget passed a threshold. Money is text, since JSON's numbers are floats to many."""
    data = {
        "scope": alert.scope,
        "scope_id": alert.scope_id,
        "period": alert.period,
        "percent": alert.percent,
        "limit_usd": f"{alert.limit_usd:f}",
        "spent_usd": f"{alert.spent_usd:f}",
        "held_usd": f"{alert.held_usd:f}",
    }
    return _payload(EventType.BUDGET_ALERT, event_id, created_at, data)


def sample(kind: EventType, event_id: str, created_at: int, endpoint_id: str) -> bytes:
    """A payload of any type for somebody who tries an endpoint out: it names nothing that exists but the endpoint itself."""
    match kind:
        case EventType.WEBHOOK_TEST:
            return _payload(kind, event_id, created_at, {"id": endpoint_id})
        case EventType.JOB_ENDED:
            return job_ended(event_id, created_at, f"job_{0:032x}", JobState.SUCCEEDED)
        case EventType.BUDGET_ALERT:
            alert = BudgetAlert("project", f"proj_{0:032x}", "month", 80, Decimal(100), Decimal(75), Decimal(5))
            return budget_alert(event_id, created_at, alert)
        case _:
            return _payload(kind, event_id, created_at, {"id": f"batch_{0:032x}"})


def _payload(kind: EventType, event_id: str, created_at: int, data: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"id": event_id, "object": "event", "type": kind, "created_at": created_at, "data": data})
