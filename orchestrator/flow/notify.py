"""Notify: events go into the outbox in the transaction of what they tell of, and from there to their endpoints until they are taken.

What was sent and not noted, since the sender died in between, is sent once more under the same `webhook-id`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import BatchStatus, JobState, Owner
from orchestrator.crashpoints import reached
from orchestrator.flow.context import Context
from orchestrator.store import limits, webhooks
from orchestrator.webhooks import events
from orchestrator.webhooks.events import OF_BATCH, BudgetAlert, EventType
from orchestrator.webhooks.schedule import next_after_s
from orchestrator.webhooks.send import Delivery, Sender

AT_ONCE: Final = 8
"""Events that are sent at the same time: a receiver that hangs holds up one of them."""
TAKEN_S: Final = 60.0
"""How long what was taken is nobody else's: longer than any send may take."""
GONE: Final = "The receiver answered 410 Gone."


def batch_ended(session: Session, owner: Owner, public_id: UUID, status: BatchStatus) -> None:
    """Tell that a batch ended, in the transaction that ends it."""
    payload = events.batch_ended(_event_id(), int(time.time()), ids.public("batch", public_id), status)
    webhooks.tell(session, owner.tenant_id, owner.project_id, OF_BATCH[status], payload)


def job_ended(session: Session, owner: Owner, public_id: UUID | str, state: JobState) -> None:
    """Tell that a job outside any batch ended, in the transaction that ends it."""
    payload = events.job_ended(_event_id(), int(time.time()), ids.public("job", public_id), state)
    webhooks.tell(session, owner.tenant_id, owner.project_id, EventType.JOB_ENDED, payload)


def tell_alerts(context: Context) -> int:
    """Tell of budgets that came to 50, 80 or 100% of their limit; returns how many."""
    with context.database.unit_of_work() as session:
        due = limits.due_alerts(session)
        for row in due:
            project = row.scope_id if row.scope == "project" else None
            alert = BudgetAlert(
                row.scope, str(row.scope_id), row.period, row.step, row.limit_usd, row.spent_usd, row.held_usd
            )
            payload = events.budget_alert(_event_id(), int(time.time()), alert)
            webhooks.tell(session, row.tenant_id, project, EventType.BUDGET_ALERT, payload)
    return len(due)


def deliver_due(context: Context, sender: Sender) -> int:
    """Send what is due, and note what became of it; returns how many attempts were made."""
    with context.database.unit_of_work() as session:
        taken = webhooks.take(session, AT_ONCE, TAKEN_S)
    if not taken:
        return 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rightsize-webhook") as pool:
        found = list(pool.map(lambda row: _sent(sender, row), taken))
    reached("notify.after_send")
    _note(context, taken, found)
    return len(taken)


def _sent(sender: Sender, row: Row[Any]) -> Delivery:
    if row.disabled_at is not None:
        return Delivery("endpoint_disabled", "The endpoint is disabled. Change it to have it told again.")
    return sender.send(row.url, row.secrets, message_id(row.public_id), row.payload)


def _note(context: Context, taken: Sequence[Row[Any]], found: Sequence[Delivery]) -> None:
    with context.database.unit_of_work() as session:
        for row, one in zip(taken, found, strict=True):
            if one.delivered:
                webhooks.done(session, row.id, one.code, one.detail)
                continue
            jitter = random.random()  # noqa: S311 - jitter, not a secret
            ends = one.gone or row.disabled_at is not None
            delay_s = None if ends else next_after_s(row.attempts, jitter, one.retry_after_s)
            webhooks.failed(session, row.id, one.code, one.detail, delay_s)
            if one.gone:
                webhooks.disable(session, row.endpoint_id, GONE)


def message_id(public_id: UUID) -> str:
    """The `webhook-id` of a delivery: the same in each of its attempts."""
    return ids.public("msg", public_id)


def _event_id() -> str:
    return ids.public("evt", ids.uuid7())
