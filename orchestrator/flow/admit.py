"""Admit: may this work come in? Budget, quotas and backpressure, checked in the submitting transaction."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Final

from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, BudgetExhausted
from orchestrator.flow.context import Context
from orchestrator.pricing import usd
from orchestrator.store import jobs, tenants

BACKLOG_FRESH_S: Final = 1.0


def admit(session: Session, owner: Owner, hold_usd: Decimal, cap_usd: Decimal | None) -> None:
    """Reserve the most that the work can cost; raises BudgetExhausted with what is left.

    `cap_usd` is the caller's own bound on the whole submission.
    """
    if cap_usd is not None and hold_usd > cap_usd:
        raise BudgetExhausted(
            f"This could cost up to {usd(hold_usd)}, over the cap of {usd(cap_usd)}. "
            "Raise max_cost_usd, lower max_tokens in the rows, or name a cheaper tier."
        )
    if not tenants.hold(session, owner.project_id, hold_usd):
        left = tenants.budget_left(session, owner.project_id)
        raise BudgetExhausted(
            f"This could cost up to {usd(hold_usd)}, and the project has {usd(max(left or Decimal(0), Decimal(0)))} left. "
            "Raise the project's budget, or submit less."
        )


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
