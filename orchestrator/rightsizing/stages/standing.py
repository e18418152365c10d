"""Where a task stands: its stage, what its audits say, its certificates, and how it came there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.errors import NotFound
from orchestrator.rightsizing.guarantees.sequential import Watch
from orchestrator.store.rightsizing import audits, certificates, stages


def told(session: Session, tenant_id: int, task: str) -> dict[str, Any]:
    """A task's standing as JSON has it; raises NotFound for one that was never promoted."""
    stage = stages.of_task(session, tenant_id, task)
    if stage is None:
        raise NotFound(f"Task {task} was never promoted. Begin with: rightsize promote {task} --to shadow")
    counted = audits.counts_of_stage(session, stage.id)
    return {
        "task": task, **_stage(stage), "reference": stage.reference, "model": stage.model, "specialist": stage.specialist,
        "threshold": stage.threshold, "automatic": stage.automatic, "watch": stage.watch,
        "watched": None if stage.watch is None else Watch.from_dict(stage.watch).told,
        "audits": {
            kind: {"decided": row.decided, "agreed": row.agreed, "missing": row.missing, "open": row.open}
            for kind, row in counted.items()
        },
        "certificates": [_certificate(row) for row in certificates.of_task(session, tenant_id, task)],
        "history": [_stage(row) for row in stages.history(session, tenant_id, task)],
    }  # fmt: skip


def _stage(row: Row[Any]) -> dict[str, Any]:
    return {
        "stage": row.stage, "since": int(row.created_at.timestamp()), "share": row.share, "audit_share": row.audit_share,
        "certificate": ids.public("cert", row.certificate) if row.certificate else None, "reason": row.reason, "set_by": row.set_by,
        "audits_seen": (row.watch or {}).get("seen", 0),
    }  # fmt: skip


def _certificate(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("cert", row.public_id), "measure": row.measure, "issued": row.issued, "specialist": row.specialist,
        "threshold": row.threshold, "share": row.share, "target": row.target, "delta": row.delta, "n": row.n, "bound": row.bound,
        "attempt": row.attempt, "expires_at": int(row.expires_at.timestamp()), "reason": row.reason,
    }  # fmt: skip
