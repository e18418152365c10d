"""Show: everything that became of a job, as the API and a Celery producer see it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row

from orchestrator import ids
from orchestrator.contracts import OF_CELERY, JobState, Owner
from orchestrator.errors import NotFound
from orchestrator.flow.context import Context
from orchestrator.pricing import CHARGES, ZERO
from orchestrator.store import jobs, refusals, review, single

MOST_WAIT_S: Final = 60.0
"""How long a job may be waited for in one call."""
FIRST_LOOK_S: Final = 0.05
MOST_LOOK_S: Final = 1.0


class NotHere(NotFound):
    """A Celery message that made no job; `refused` says whether it still may."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


def show_job(context: Context, owner: Owner, name: str) -> dict[str, Any]:
    """A tenant's job, by its id or as `celery:` and the id of the task that handed it in; raises NotFound.

    Stored JSON in it is an `orjson.Fragment`.
    """
    public_id = _id_of(context, owner, name)
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = jobs.find(session, owner.tenant_id, public_id)
        if row is None:
            raise NotFound(f"There is no job {ids.public('job', public_id)}.")
        transfers = jobs.transfers(session, row.id)
        amounts = {(transfer.attempt, transfer.kind): transfer.amount_usd for transfer in transfers}
        attempts = [_attempt(attempt, amounts) for attempt in jobs.attempts(session, row.id)]
        result = jobs.result(session, row.id, row.stored_on) if row.state == JobState.SUCCEEDED else None
        standing = review.standing(session, row.id) if row.document_hash is not None else None
    body = standing.body if standing is not None else None
    if body is None and result is not None:
        body = context.blobs.get(result.blob_key) if result.blob_key else result.body
    return {
        **_object(row, attempts, transfers, body),
        "rightsize": _standing(row, standing, has_result=body is not None),
    }


def is_settled(context: Context, owner: Owner, name: str) -> bool:
    """Whether there is nothing more to be waited for: the job has ended, or its message was refused; raises NotFound for no job.

    Much cheaper than the job itself: whoever waits for one asks this about once a second.
    """
    try:
        public_id = _id_of(context, owner, name)
    except NotHere as error:
        return error.refused
    with context.database.unit_of_work(owner.tenant_id) as session:
        ended = jobs.has_ended(session, owner.tenant_id, public_id)
    if ended is None:
        raise NotFound(f"There is no job {ids.public('job', public_id)}.")
    return ended


def _id_of(context: Context, owner: Owner, name: str) -> UUID:
    """The id of a job by its name; raises NotFound, for a Celery task with the reason where it was refused."""
    if not name.startswith(OF_CELERY):
        return ids.parse("job", name)
    with context.database.unit_of_work(owner.tenant_id) as session:
        known = single.recall_key(session, owner.tenant_id, name)
    if known is not None:
        return known[1]
    with context.house.unit_of_work() as session:
        refused = refusals.of_task(session, owner.tenant_id, name.removeprefix(OF_CELERY))
    if refused is not None:
        raise NotHere(
            f"The message was refused: {refused.code}: {refused.message} (GET /v1/refusals/{refused.id})", refused=True
        )
    raise NotHere(
        f"No job was made of a Celery task {name.removeprefix(OF_CELERY)[:80]!r} yet. Check the id; while no `rightsize intake` "
        "runs, messages wait; one whose key is not known stands in the list of refusals of whoever runs the service.",
        refused=False,
    )


def _object(row: Row[Any], attempts: list[dict[str, Any]], transfers: Any, body: bytes | None) -> dict[str, Any]:
    charged = sum((t.amount_usd for t in transfers if t.kind in CHARGES), start=ZERO)
    # Another model of its cascade is about to answer: what was wrong with the answer before stands with its attempt.
    goes_on = row.ended_at is None and 0 < row.attempts == row.earlier_attempts
    return {
        "id": ids.public("job", row.public_id),
        "object": "job",
        "state": JobState(row.state).label,
        "endpoint": row.endpoint,
        "batch_id": ids.public("batch", row.batch) if row.batch else None,
        "custom_id": row.custom_id,
        "task": row.task,
        "created_at": int(row.created_at.timestamp()),
        "ended_at": int(row.ended_at.timestamp()) if row.ended_at else None,
        "expires_at": int(row.deadline.timestamp()),
        "route": {
            "tier": row.tier,
            "model": row.model,
            "rule": row.rule,
            "reasons": row.reasons.split("\n"),
            "features": orjson.Fragment(row.features),
        },
        "attempts": attempts,
        "charges": [_transfer(t) for t in transfers if t.kind in CHARGES],
        "costs": [_transfer(t) for t in transfers if t.kind == "cost"],
        "cost_usd": f"{charged:f}",
        # Stored bodies are whole JSON already: they go out as they are.
        "result": orjson.Fragment(body) if body else None,
        "error": {"code": row.fault_code, "message": row.fault_message} if row.fault_code and not goes_on else None,
    }


def _standing(row: Row[Any], standing: Row[Any] | None, *, has_result: bool) -> dict[str, Any]:
    """Which version of the result it is, what people said of it, and whether the document was forgotten."""
    version = (standing.version if standing is not None else None) or 1
    state = standing.state if standing is not None else None
    return {
        "result_version": version if has_result else None,
        "reviewed": version > 1 or state in ("corrected", "confirmed"),
        "review_id": ids.public("review", standing.public_id) if standing is not None and standing.public_id else None,
        "forgotten": row.forgotten_at is not None,
    }


def _attempt(row: Row[Any], amounts: Mapping[tuple[int, str], Decimal]) -> dict[str, Any]:
    """An attempt with both of its costs: marginal, by the rate card, and its share of the machine's time, once that is known."""
    allocated = amounts.get((row.attempt, "machine"), ZERO) if row.books_closed_at else None
    return {
        "attempt": row.attempt,
        "outcome": row.outcome,
        "tier": row.tier,
        "model": row.model,
        "model_revision": row.model_revision,
        "simulated": row.simulated,
        "engine_s": round(row.engine_s, 6),
        "created_at": int(row.created_at.timestamp()),
        "marginal_usd": f"{amounts.get((row.attempt, 'cost'), ZERO):f}",
        "allocated_usd": None if allocated is None else f"{allocated:f}",
        "usage": {
            "input_tokens": row.input_tokens, "cached_tokens": row.cached_tokens, "output_tokens": row.output_tokens,
            "reasoning_tokens": row.reasoning_tokens, "images": row.images, "audio_seconds": str(row.audio_seconds),
        },
        "error": {"code": row.fault_code, "message": row.fault_message} if row.fault_code else None,
    }  # fmt: skip


def _transfer(row: Row[Any]) -> dict[str, Any]:
    payer = "caller" if row.kind in CHARGES or row.debit_account == "cost:caller" else "house"
    return {
        "attempt": row.attempt, "kind": row.kind, "tier": row.tier, "model": row.model, "amount_usd": f"{row.amount_usd:f}", "borne_by": payer,
        "price_version": row.price_version,
    }  # fmt: skip
