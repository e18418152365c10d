"""Take the next step of a promotion without being asked, where its owner switched that on and a certificate allows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from orchestrator.errors import InvalidRequest
from orchestrator.flow.context import Context
from orchestrator.promotion import REST_DAYS, STAGE_AUDITS, USUAL_TARGET, Stage
from orchestrator.rightsizing.evidence.seen import WINDOW_DAYS
from orchestrator.rightsizing.stages.promoting import Wish, one_task, promote
from orchestrator.store.rightsizing import audits, certificates, stages
from orchestrator.telemetry import log

DELTA: Final = 0.05
FIRST_PAIRS: Final = 500
"""Compared answers of the shadow before a first attempt at a certificate; each further one wants twice as many new ones."""
SET_BY: Final = "rightsize"


def step_all(context: Context) -> int:
    """Take each step that is due; returns how many were taken."""
    with context.database.unit_of_work() as session:
        found = [row for row in stages.every(session) if row.automatic]
    steps = 0
    for row in found:
        with one_task(row):
            steps += _step(context, row)
    return steps


def _step(context: Context, stage: Row[Any]) -> bool:
    if stage.stage == "shadow":
        return (_has_certificate(context, stage) or _gets_certificate(context, stage)) and _promoted(
            context, stage, "canary"
        )
    if stage.stage == "canary":
        return int(stage.watch["seen"]) >= STAGE_AUDITS and _promoted(context, stage, "full")
    if stage.stage == "demoted":
        return _is_rested(context, stage) and _promoted(context, stage, "shadow")
    return False


def _has_certificate(context: Context, stage: Row[Any]) -> bool:
    """Whether a certificate is there already: somebody made it by hand, or we did and died before the promotion."""
    with context.database.unit_of_work() as session:
        found = certificates.newest_issued(session, stage.tenant_id, stage.task)
        return (
            found is not None
            and found.specialist == stage.specialist
            and not stages.was_demoted(session, stage.tenant_id, stage.task, found.id)
        )


def _gets_certificate(context: Context, stage: Row[Any]) -> bool:
    """Whether a certificate of agreement was issued; an attempt is made only once there are enough new rows for one."""
    # With it comes scipy, which an orchestrator needs for this alone.
    from orchestrator.rightsizing.stages import certifying

    with context.database.unit_of_work() as session:
        attempts = certificates.of_task(session, stage.tenant_id, stage.task)
        since = datetime.now(UTC) - timedelta(days=WINDOW_DAYS)
        pairs = audits.unused_pairs(session, stage.tenant_id, stage.task, stage.specialist, since)
    tried = sum(row.measure == "agreement" for row in attempts)
    if pairs < FIRST_PAIRS * 2**tried:
        return False
    # A task's own `quality_target` is one of right answers, and says nothing of agreement.
    asked = certifying.Request(stage.task, USUAL_TARGET, DELTA, "agreement")
    return bool(certifying.attempt(context, stage.tenant_id, asked, None)["issued"])


def _is_rested(context: Context, stage: Row[Any]) -> bool:
    """Whether a demotion is long ago, and the specialist is another one than the one that was demoted."""
    with context.database.unit_of_work() as session:
        newest = certificates.newest_specialist(session, stage.tenant_id, stage.task)
    return newest != stage.specialist and bool(datetime.now(UTC) - stage.created_at >= timedelta(days=REST_DAYS))


def _promoted(context: Context, stage: Row[Any], to: Stage) -> bool:
    try:
        promote(
            context, stage.tenant_id, Wish(stage.task, to, SET_BY, stage.reference, automatic=True, instead_of=stage.id)
        )
    except InvalidRequest:  # trained anew meanwhile: the new one has no certificate yet, and stays in the shadow
        return False
    log("promoted", task=stage.task, tenant=stage.tenant_id, stage=to)
    return True
