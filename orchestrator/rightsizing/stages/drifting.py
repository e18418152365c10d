"""Look at what promoted specialists are asked now, and audit more of it where that has changed."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.flow.context import Context
from orchestrator.rightsizing.evidence.answers import answer_of, label_of
from orchestrator.rightsizing.stages import drift
from orchestrator.rightsizing.stages.promoting import one_task
from orchestrator.store import certificates, stages
from orchestrator.telemetry import log

EVERY_S: Final = 10.0


def look_at_all(context: Context) -> int:
    """Look at every promoted task; returns how many have drifted."""
    with context.database.unit_of_work() as session:
        found = [row for row in stages.every(session) if row.stage in ("canary", "full") and row.drifted_at is None]
    drifted = 0
    for row in found:
        with one_task(row):
            drifted += _look(context, row)
    return drifted


def _look(context: Context, stage: Row[Any]) -> bool:
    share = min(1.0, drift.RAISED * max(stage.audit_share, 0.01))
    with context.database.unit_of_work() as session:
        what = _moved(session, stage)
        if what is None or not stages.raise_audits(session, stage.id, share):
            return False
    log("drifted", logging.WARNING, task=stage.task, tenant=stage.tenant_id, what=what, audit_share=share)
    return True


def _moved(session: Session, stage: Row[Any]) -> str | None:
    """What of a stage's newest jobs is not as it was; None where all is."""
    rows = stages.recent(session, stage)
    ours = [row for row in rows if row.model == stage.model]
    if stage.share_low is not None and drift.share_has_moved(len(ours), len(rows), stage.share_low, stage.share_high):
        return "share"
    trained = certificates.trained(session, stage.tenant_id, stage.task)
    known = (trained.training or {}).get("class_counts") if trained is not None else None
    if not known:
        return None
    # Of whichever model answered: what a specialist accepts by itself is a choice, and has a mix of its own.
    said = Counter(label_of(answer_of(bytes(row.body))) for row in rows if row.body is not None)
    learnt: Counter[str] = Counter()
    for label, count in known.items():
        learnt[label_of(label)] += count
    return "labels" if drift.mix_has_moved(said, learnt) else None
