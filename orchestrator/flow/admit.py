"""Admit: may this work come in? Budget, quotas and backpressure, checked in the submitting transaction."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, BudgetExhausted
from orchestrator.fleet import usd
from orchestrator.settings import Settings
from orchestrator.store import jobs, tenants


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


def check_backpressure(session: Session, settings: Settings) -> None:
    """Raise Backpressure when too much is queued already."""
    queued = jobs.queued_estimate(session)
    if queued > settings.max_queued_jobs:
        raise Backpressure(
            f"About {queued} jobs are queued, over the limit of {settings.max_queued_jobs}. "
            "Try again later, add workers, or raise RIGHTSIZE_MAX_QUEUED_JOBS.",
            retry_after_s=60.0,
        )
