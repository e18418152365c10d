"""Notify: events go into the outbox in the transaction of what they tell of. `deliver.py` sends them from there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import BatchStatus, ClaimedJob, JobState, Owner
from orchestrator.flow.context import Context
from orchestrator.lifecycle import is_terminal
from orchestrator.store import limits, webhooks
from orchestrator.store.jobs import Swept
from orchestrator.store.webhooks import Told
from orchestrator.webhooks import events
from orchestrator.webhooks.events import OF_BATCH, BudgetAlert, EventType

PREFIXES: Final[Mapping[str, ids.Kind]] = {"tenant": "tenant", "project": "proj", "key": "key"}
Ended = tuple[Owner, UUID | str, JobState]
"""Whose job ended, which, and in what state."""


def batch_ended(session: Session, owner: Owner, public_id: UUID, status: BatchStatus) -> None:
    """Tell that a batch ended, in the transaction that ends it."""
    payload = events.batch_ended(_event_id(), int(time.time()), ids.public("batch", public_id), status)
    webhooks.tell(session, OF_BATCH[status], [Told(owner.tenant_id, owner.project_id, payload)])


def jobs_ended(session: Session, ended: Iterable[Ended]) -> None:
    """Tell that jobs outside any batch ended, in the transaction that ends them."""
    now = int(time.time())
    told = [
        Told(owner.tenant_id, owner.project_id, events.job_ended(_event_id(), now, ids.public("job", public_id), state))
        for owner, public_id, state in ended
    ]
    webhooks.tell(session, EventType.JOB_ENDED, told)


def is_told(job: ClaimedJob | Swept, state: JobState) -> bool:
    """Whether somebody may wait to hear of a job's end: nobody waits for it in a call, and it is neither part of a batch nor ours."""
    return is_terminal(state) and not job.batch_id and not job.interactive and not job.unbilled


def tell_alerts(context: Context) -> int:
    """Tell of budgets that came to 50, 80 or 100% of their limit; returns how many."""
    with context.database.unit_of_work() as session:
        told = [
            Told(row.tenant_id, row.project_id, events.budget_alert(_event_id(), int(time.time()), _alert(row)))
            for row in limits.due_alerts(session)
        ]
        webhooks.tell(session, EventType.BUDGET_ALERT, told)
    return len(told)


def _alert(row: Row[Any]) -> BudgetAlert:
    """A budget by the names under which the API shows it."""
    return BudgetAlert(
        scope=row.scope, scope_id=ids.public(PREFIXES[row.scope], row.public_id), period=row.period, percent=row.step,
        limit_usd=row.limit_usd, spent_usd=row.spent_usd, held_usd=row.held_usd,
    )  # fmt: skip


def message_id(public_id: UUID) -> str:
    """The `webhook-id` of a delivery: the same in each of its attempts."""
    return ids.public("msg", public_id)


def _event_id() -> str:
    return ids.public("evt", ids.uuid7())
