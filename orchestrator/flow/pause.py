"""Pause and resume: a batch of which nothing more is assigned until its owner says so. What runs just now ends."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.flow.context import Context
from orchestrator.store import batches, budgets


def pause_batch(context: Context, owner: Owner, public_id: UUID) -> None:
    """Assign nothing of a batch from now on; its deadline goes on. Pausing twice is fine. Raises NotFound or Conflict."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner, public_id)
        if not batches.pause(session, row.id):
            raise Conflict(f"The batch is {row.status} and cannot be paused.")


def resume_batch(context: Context, owner: Owner, public_id: UUID, max_cost_usd: Decimal | None = None) -> None:
    """Go on with a batch, under another cap if one is given. Raises NotFound, Conflict, or InvalidRequest for a cap it never had."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        row = _found(session, owner, public_id)
        if max_cost_usd is not None:
            if row.max_cost_usd is None:
                raise InvalidRequest("The batch has no cap of its own: leave max_cost_usd out.", param="max_cost_usd")
            budgets.cap_batch(session, owner, row.id, max_cost_usd)
        if not batches.resume(session, row.id, max_cost_usd):
            raise Conflict(f"The batch is {row.status} and cannot be resumed.")
    context.broker.wake()


def _found(session: Session, owner: Owner, public_id: UUID) -> Row[tuple[object, ...]]:
    row = batches.find(session, owner.tenant_id, public_id)
    if row is None:
        raise NotFound(f"There is no batch {ids.public('batch', public_id)}.")
    return row
