"""Stages: how far a task's specialist is promoted; the newest row of a task is in force."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.promotion import Promotion, Stage

_NEWEST: Final = """
    SELECT DISTINCT ON (s.tenant_id, s.task) s.*, c.public_id AS certificate, c.expires_at, c.target, c.delta, c.measure, c.reference_low,
        c.share_low, c.share_high, c.reference AS certified_reference, c.task_version, coalesce(c.expires_at <= now(), false) AS is_expired
    FROM stages s LEFT JOIN certificates c ON c.id = s.certificate_id {where} ORDER BY s.tenant_id, s.task, s.id DESC
"""
IN_FORCE: Final = text(_NEWEST.format(where="WHERE s.tenant_id = :tenant"))
OF_TASK: Final = text(_NEWEST.format(where="WHERE s.tenant_id = :tenant AND s.task = :task"))
EVERY: Final = text(_NEWEST.format(where=""))
HISTORY: Final = text("""
    SELECT s.*, c.public_id AS certificate FROM stages s LEFT JOIN certificates c ON c.id = s.certificate_id
    WHERE s.tenant_id = :tenant AND s.task = :task ORDER BY s.id DESC LIMIT :limit
""")
ADD: Final = text("""
    INSERT INTO stages (tenant_id, task, stage, certificate_id, specialist, model, reference, threshold, share, audit_share, watch,
        watched_to, automatic, reason, set_by)
    VALUES (:tenant, :task, :stage, :certificate, :specialist, :model, :reference, :threshold, :share, :audit_share,
        CAST(:watch AS jsonb), :watched_to, :automatic, :reason, :set_by) RETURNING id
""")
WATCHED: Final = text("""
    UPDATE stages SET watch = CAST(:watch AS jsonb), watched_to = :to WHERE id = :id AND watched_to < :to
        AND id = (SELECT max(id) FROM stages s WHERE s.tenant_id = stages.tenant_id AND s.task = stages.task) RETURNING id
""")
LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('stage:' || :tenant || ':' || :task, 0))")
# Of the newest jobs, and of none that a look before this one was about: looks that share no job are tests of their own. None younger than
# one that is still open: what is slow, such as a job that went on to another model, would be missing among them. What has been open for
# an hour is not slow but held back, with its batch, and holds up no look.
RECENT: Final = text("""
    WITH work AS (
        SELECT id, model, stored_on, state, created_at FROM jobs WHERE id > greatest((SELECT max(id) FROM jobs) - :among, :after)
            AND tenant_id = :tenant AND task = :task AND rule = 'certified' AND created_at >= :since
    ), settled AS (
        SELECT * FROM work WHERE state = 10 AND id < coalesce((SELECT min(id) FROM work WHERE state < 10 AND created_at > now() - interval '1 hour'), 9223372036854775807)
        ORDER BY id DESC LIMIT :limit
    )
    SELECT s.id, s.model, r.body FROM settled s
    LEFT JOIN results r ON r.job_id = s.id AND r.stored_on = s.stored_on AND r.body IS NOT NULL AND length(r.body) < 10000
    ORDER BY s.id DESC
""")
LOOKED: Final = text(
    "UPDATE stages SET looks = looks + 1, looked_to = :to WHERE id = :id AND looked_to < :to RETURNING looks"
)
RAISE_AUDITS: Final = text(
    "UPDATE stages SET audit_share = :share, drifted_at = now() WHERE id = :id AND drifted_at IS NULL RETURNING id"
)
WAS_DEMOTED: Final = text("""
    SELECT EXISTS (
        SELECT FROM stages WHERE tenant_id = :tenant AND task = :task AND certificate_id = :certificate AND stage = 'demoted'
            AND set_by = 'rightsize'
    )
""")
FAILED_AUDITS: Final = text("""
    SELECT EXISTS (
        SELECT FROM stages WHERE tenant_id = :tenant AND task = :task AND specialist = :specialist
            AND CAST(watch->>'peak' AS float8) * CAST(watch->>'delta' AS float8) >= 1
    )
""")
FREEZE: Final = text("UPDATE stages SET automatic = false, frozen = true WHERE id = :id")
# What waits for the specialist goes on to the model behind it, at once. Its hold was for both.
WITHDRAW: Final = text("""
    WITH picked AS (
        SELECT id FROM jobs WHERE tenant_id = :tenant AND task = :task AND model = :model AND state IN (1, 3) AND rule = 'certified'
            AND cascade IS NOT NULL ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET tier = :tier, model = :reference, cascade = NULL, requeued = false FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id
""")


@dataclass(frozen=True, slots=True)
class NewStage:
    """A step of a task's promotion."""

    task: str
    stage: Stage
    certificate_id: int | None
    specialist: str
    model: str
    reference: str
    threshold: float | None
    share: float
    audit_share: float
    watch: Mapping[str, Any] | None
    automatic: bool
    reason: str
    set_by: str
    watched_to: int = 0
    """The last audit that the watch has seen, where it goes on from a stage before."""


def in_force(session: Session, tenant_id: int) -> dict[str, Promotion]:
    """A tenant's promotions by task; where a certificate has ended it is demoted, whether or not somebody has taken note of that."""
    return {row.task: _promotion(row) for row in session.execute(IN_FORCE, {"tenant": tenant_id})}


def _promotion(row: Row[Any]) -> Promotion:
    certificate = ids.public("cert", row.certificate) if row.certificate else None
    threshold = 1.0 if row.threshold is None else row.threshold
    stage: Stage = "demoted" if row.is_expired else row.stage
    return Promotion(
        row.id, row.task, stage, certificate, row.specialist, row.model, row.reference, threshold, row.share, row.audit_share
    )  # fmt: skip


def of_task(session: Session, tenant_id: int, task: str) -> Row[Any] | None:
    """The stage of a task that is in force, with its certificate; None for a task that was never promoted."""
    return session.execute(OF_TASK, {"tenant": tenant_id, "task": task}).one_or_none()


def every(session: Session) -> Sequence[Row[Any]]:
    """The stages in force of all tenants."""
    return session.execute(EVERY).all()


def history(session: Session, tenant_id: int, task: str, *, limit: int = 100) -> Sequence[Row[Any]]:
    """The steps of a task's promotion, newest first."""
    return session.execute(HISTORY, {"tenant": tenant_id, "task": task, "limit": limit}).all()


def hold(session: Session, tenant_id: int, task: str) -> None:
    """Let nobody else take a step of this task until the transaction ends."""
    session.execute(LOCK, {"tenant": str(tenant_id), "task": task})


def add(session: Session, tenant_id: int, new: NewStage) -> int:
    """Put a stage in force."""
    values = {
        "tenant": tenant_id, "task": new.task, "stage": new.stage, "certificate": new.certificate_id, "specialist": new.specialist,
        "model": new.model, "reference": new.reference, "threshold": new.threshold, "share": new.share, "audit_share": new.audit_share,
        "watch": json.dumps(new.watch) if new.watch is not None else None, "watched_to": new.watched_to, "automatic": new.automatic, "reason": new.reason,
        "set_by": new.set_by,
    }  # fmt: skip
    return int(session.execute(ADD, values).scalar_one())


def watched(session: Session, stage_id: int, watch: Mapping[str, Any], to: int) -> bool:
    """Store what the watch has seen, up to an audit's job; False where somebody else was quicker, or the stage is over."""
    values = {"id": stage_id, "watch": json.dumps(watch), "to": to}
    return session.execute(WATCHED, values).one_or_none() is not None


def recent(session: Session, stage: Row[Any], *, among: int = 200_000, limit: int = 500) -> Sequence[Row[Any]]:
    """The models and the answers of a stage's newest jobs, but for those that were looked at before; newest first."""
    values = {
        "tenant": stage.tenant_id, "task": stage.task, "since": stage.created_at, "after": stage.looked_to, "among": among, "limit": limit,
    }  # fmt: skip
    return session.execute(RECENT, values).all()


def looked(session: Session, stage_id: int, to: int) -> int | None:
    """Note a look for drift at jobs up to one; its number, and None where another orchestrator looked at them."""
    number: int | None = session.execute(LOOKED, {"id": stage_id, "to": to}).scalar_one_or_none()
    return number


def raise_audits(session: Session, stage_id: int, share: float) -> bool:
    """Audit more from now on; False where as many are audited already."""
    return session.execute(RAISE_AUDITS, {"id": stage_id, "share": share}).one_or_none() is not None


def was_demoted(session: Session, tenant_id: int, task: str, certificate_id: int) -> bool:
    """Whether a task was demoted under a certificate by its audits, or by the certificate's end."""
    values = {"tenant": tenant_id, "task": task, "certificate": certificate_id}
    return bool(session.execute(WAS_DEMOTED, values).scalar_one())


def failed_audits(session: Session, tenant_id: int, task: str, specialist: str) -> bool:
    """Whether audits have shown of a version of a specialist that it is worse than it was certified to be."""
    values = {"tenant": tenant_id, "task": task, "specialist": specialist}
    return bool(session.execute(FAILED_AUDITS, values).scalar_one())


def freeze(session: Session, stage_id: int) -> None:
    """Let nothing follow on a stage by itself."""
    session.execute(FREEZE, {"id": stage_id})


def withdraw(session: Session, stage: Row[Any], tier: str, *, limit: int = 5_000) -> int:
    """Hand a chunk of what waits for a demoted specialist to the reference; returns how many."""
    values = {
        "tenant": stage.tenant_id, "task": stage.task, "model": stage.model, "reference": stage.reference, "tier": tier, "limit": limit,
    }  # fmt: skip
    return len(session.execute(WITHDRAW, values).all())
