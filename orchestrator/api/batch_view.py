"""A batch as callers see it: OpenAI's object with every field present, and our `rightsize` object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.api.serving import Plan, Serving
from orchestrator.contracts import BatchStatus
from orchestrator.flow.finish import summary
from orchestrator.store import batches

STAMPS: Final = (
    "created_at", "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip
NO_TOKENS: Final = {"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0}


def read(serving: Serving, session: Session, row: Row[Any]) -> dict[str, Any]:
    """The object of a batch: from its frozen counts once it has ended, otherwise from its progress so far."""
    if row.final is not None:
        counted = {**summary([]), **row.final}
        return view(row, counted, None)
    counted = summary(batches.progress(session, row.id))
    return view(row, counted, _plan(serving, session, row))


def _plan(serving: Serving, session: Session, row: Row[Any]) -> Plan:
    """How the rows were routed: counted once, when the batch was opened; nothing before that."""
    if row.status == BatchStatus.VALIDATING or row.in_progress_at is None:
        return ()
    if row.id not in serving.plans:
        found = batches.planned(session, row.id)
        serving.keep_plan(row.id, tuple((one.tier, one.model, one.jobs) for one in found))
    return serving.plans[row.id]


def view(row: Row[Any], counted: Mapping[str, Any], plan: Plan | None) -> dict[str, Any]:
    """Put the object together. Without a plan the batch has ended, and every job counts as planned where it ended."""
    models = {model for _, model, _ in plan} if plan is not None else set(counted.get("models", ()))
    stamps = {name: _unix(getattr(row, name)) for name in STAMPS}
    return {
        "id": ids.public("batch", row.public_id),
        "object": "batch",
        "endpoint": row.endpoint,
        "model": models.pop() if len(models) == 1 else None,
        "errors": row.errors,
        "input_file_id": ids.public("file", row.input_file),
        "completion_window": row.completion_window,
        "status": row.status,
        "output_file_id": ids.public("file", row.output_file) if row.output_file else None,
        "error_file_id": ids.public("file", row.error_file) if row.error_file else None,
        **stamps,
        "expires_at": _unix(row.deadline),
        "request_counts": {"total": row.total, "completed": counted["completed"], "failed": counted["failed"]},
        "usage": _usage(counted.get("usage") or NO_TOKENS),
        "metadata": row.metadata,
        "rightsize": {
            "tiers": _tiers(counted["tiers"], plan),
            "states": counted["states"],
            "cost_usd": counted["cost_usd"],
            "estimate_usd": f"{row.estimate_usd:f}",
            "max_cost_usd": f"{row.max_cost_usd:f}" if row.max_cost_usd is not None else None,
            "paused": _paused(row),
            "retry_of": ids.public("batch", row.retried) if row.retried else None,
            "merged_output_file_id": ids.public("file", row.merged_file) if row.merged_file else None,
            "task": row.hints.get("task"),
            "task_version": row.hints.get("task_version"),
        },
    }


def _paused(row: Row[Any]) -> dict[str, Any] | None:
    """Why nothing of a batch is begun just now, and what to do; None where it goes on or has ended."""
    if row.final is not None:
        return None
    name = ids.public("batch", row.public_id)
    if row.paused_at is not None:
        remedy = f"Go on with it: `rightsize resume {name}`, or POST /v1/batches/{name}/resume."
        return {"reason": "requested", "since": _unix(row.paused_at), "remedy": remedy}
    if row.held_back is not None:
        remedy = (
            f"Raise the budget that is spent (`rightsize budgets list`), or the batch's own cap: `rightsize resume {name} "
            f"--max-cost-usd X`, or POST /v1/batches/{name}/resume with max_cost_usd."
        )
        return {"reason": row.held_back, "since": None, "remedy": remedy}
    return None


def _tiers(counted: Mapping[str, Any], plan: Plan | None) -> dict[str, Any]:
    """By tier: planned, completed, failed and cost_usd."""
    planned: dict[str, int] = {}
    for tier, _, jobs in plan or ():
        planned[tier] = planned.get(tier, 0) + jobs
    nothing = {"completed": 0, "failed": 0, "cost_usd": "0"}
    tiers = {}
    for tier in sorted({*counted, *planned}):
        one = counted.get(tier, nothing)
        ended = one["completed"] + one["failed"]
        tiers[tier] = {"planned": ended if plan is None else planned.get(tier, ended), **one}
    return tiers


def _usage(tokens: Mapping[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": tokens["input_tokens"],
        "input_tokens_details": {"cached_tokens": tokens["cached_tokens"]},
        "output_tokens": tokens["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": tokens["reasoning_tokens"]},
        "total_tokens": tokens["input_tokens"] + tokens["output_tokens"],
    }


def _unix(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None
