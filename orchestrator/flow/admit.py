"""Admit: may this work come in? Budget, quotas and backpressure, checked in the submitting transaction."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Final

from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, BudgetExhausted
from orchestrator.flow.context import Context
from orchestrator.pricing import ZERO, usd
from orchestrator.store import budgets, jobs
from orchestrator.store.budgets import Refused

BACKLOG_FRESH_S: Final = 1.0


def admit(session: Session, owner: Owner, hold_usd: Decimal) -> None:
    """Reserve the most that a job can cost; raises BudgetExhausted with what is left."""
    if refused := budgets.hold(session, owner, hold_usd):
        raise OverBudget(f"This could cost up to {usd(hold_usd)}, and {_left(refused)}", refused)


def admit_batch(session: Session, owner: Owner, batch_id: int, forecast_usd: Decimal, cap_usd: Decimal | None) -> None:
    """Reserve what a batch is expected to cost; raises BudgetExhausted with what is left.

    The most that its jobs can cost is only held while they run: a big batch does not keep everybody else from the budget.
    `cap_usd` is the caller's own bound on the whole batch, a budget like any other.
    """
    if cap_usd is not None:
        budgets.cap_batch(session, owner, batch_id, cap_usd)
    if refused := budgets.hold(session, owner, forecast_usd, batch_id):
        if refused.scope == "batch":
            raise BudgetExhausted(
                f"This is expected to cost {usd(forecast_usd)}, over the cap of {usd(refused.limit_usd)}. "
                "Raise max_cost_usd, lower max_tokens in the rows, or name a cheaper tier."
            )
        raise OverBudget(f"This is expected to cost {usd(forecast_usd)}, and {_left(refused)}", refused)


class OverBudget(BudgetExhausted):
    """A budget of the caller's tenant has too little left; `refused` says which."""

    def __init__(self, message: str, refused: Refused) -> None:
        super().__init__(message)
        self.refused = refused


def _left(refused: Refused) -> str:
    period = {"day": " today", "month": " this month", "total": ""}[refused.period]
    return (
        f"the {refused.scope} has {usd(max(refused.left_usd, ZERO))} left{period}. "
        f"Raise its budget (`rightsize budgets set`), or submit less."
    )


def note_refusal(context: Context, owner: Owner, error: OverBudget) -> None:
    """Note, in a transaction of its own, which budget refused: whoever watches it is told that it is used up."""
    refused = error.refused
    scope_ids = {"tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id}
    with context.database.unit_of_work(owner.tenant_id) as session:
        budgets.mark_refused(session, refused.scope, scope_ids[refused.scope], refused.period)


def check_backpressure(context: Context, session: Session) -> None:
    """Raise Backpressure when too much is queued already; what is queued is looked up once a second."""
    backlog, now = context.backlog, time.monotonic()
    if now - backlog.read_at > BACKLOG_FRESH_S:
        backlog.queued, backlog.read_at = jobs.queued_estimate(session), now
    most = context.settings.max_queued_jobs
    if backlog.queued > most:
        raise Backpressure(
            f"About {backlog.queued} jobs are queued, over the limit of {most}. "
            "Try again later, add workers, or raise RIGHTSIZE_MAX_QUEUED_JOBS.",
            retry_after_s=60.0,
        )
