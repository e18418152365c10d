"""Look at what promoted specialists are asked now, and audit more of it where that has changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.flow.context import Context
from orchestrator.rightsizing.evidence.answers import answer_of, familiarity_of, label_of
from orchestrator.rightsizing.stages import drift
from orchestrator.rightsizing.stages.promoting import one_task
from orchestrator.store.rightsizing import certificates, stages
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
        rows = stages.recent(session, stage)
        if len(rows) < drift.LEAST:
            return False
        look = stages.looked(session, stage.id, rows[0].id)
        what = None if look is None else _moved(session, stage, rows, drift.alpha(look))
        if what is None or not stages.raise_audits(session, stage.id, share):
            return False
    log("drifted", logging.WARNING, task=stage.task, tenant=stage.tenant_id, what=what, audit_share=share)
    return True


def _moved(session: Session, stage: Row[Any], rows: Sequence[Row[Any]], alpha: float) -> str | None:
    """What of a stage's newest jobs is not as it was; None where all is."""
    bodies = [bytes(row.body) for row in rows if row.body is not None]
    ours = [row for row in rows if row.model == stage.model]
    if stage.share_low is not None and drift.share_has_moved(
        len(ours), len(rows), stage.share_low, stage.share_high, alpha
    ):
        return "share"
    trained = certificates.trained(session, stage.tenant_id, stage.task, stage.specialist)
    training = (trained.training or {}) if trained is not None else {}
    # Of whichever model answered: what a specialist accepts by itself is a choice, and has a mix of its own.
    said = Counter(label_of(answer_of(body)) for body in bodies)
    learnt: Counter[str] = Counter()
    for label, count in training.get("class_counts", {}).items():
        learnt[label_of(label)] += count
    if drift.mix_has_moved(said, learnt, alpha):
        return "labels"
    familiar = [one for row in ours if row.body is not None and (one := familiarity_of(bytes(row.body))) is not None]
    known = [(score, place) for score, place in training.get("familiarity", ())]
    return "texts" if drift.texts_have_moved(familiar, known, stage.threshold or 0.0, alpha) else None
