"""Tenants, projects, API keys and budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

ADD_KEY: Final = text("""
    INSERT INTO api_keys (public_id, tenant_id, project_id, name, hash)
    SELECT :public_id, p.tenant_id, p.id, :name, :hash FROM projects p JOIN tenants t ON t.id = p.tenant_id
    WHERE t.name = 'default' AND p.name = 'default'
""")
FIND_KEY: Final = text("SELECT tenant_id, project_id, id FROM api_keys WHERE hash = :hash AND revoked_at IS NULL")
HOLD: Final = text("""
    UPDATE budgets SET held_usd = held_usd + :amount
    WHERE project_id = :project AND (limit_usd IS NULL OR spent_usd + held_usd + :amount <= limit_usd)
    RETURNING project_id
""")
SETTLE: Final = text("""
    UPDATE budgets SET held_usd = held_usd - :released, spent_usd = spent_usd + :spent WHERE project_id = :project
""")
IS_HOUSE: Final = text("SELECT EXISTS (SELECT FROM tenants WHERE id = :tenant AND name = 'default')")
LEFT: Final = text("SELECT limit_usd - spent_usd - held_usd FROM budgets WHERE project_id = :project")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a transaction gives back of a project's hold, and what it charges."""

    released_usd: Decimal = Decimal(0)
    spent_usd: Decimal = Decimal(0)

    def plus(self, released_usd: Decimal, spent_usd: Decimal) -> Settlement:
        """The sum of both."""
        return Settlement(self.released_usd + released_usd, self.spent_usd + spent_usd)


def add_key(session: Session, public_id: UUID, name: str, key_hash: bytes) -> None:
    """Store the hash of a new key of the default project."""
    session.execute(ADD_KEY, {"public_id": public_id, "name": name, "hash": key_hash})


def find_key(session: Session, key_hash: bytes) -> Owner | None:
    """Whose a key is, or None if it is unknown or revoked."""
    row = session.execute(FIND_KEY, {"hash": key_hash}).one_or_none()
    return Owner(*row) if row else None


def hold(session: Session, project_id: int, amount_usd: Decimal) -> bool:
    """Reserve budget by one conditional update; False when the project has not so much left."""
    return session.execute(HOLD, {"project": project_id, "amount": amount_usd}).one_or_none() is not None


def budget_left(session: Session, project_id: int) -> Decimal | None:
    """What a project may still reserve; None without a limit."""
    return session.execute(LEFT, {"project": project_id}).scalar_one_or_none()


def settle(session: Session, settlements: Mapping[int, Settlement]) -> None:
    """Release holds and book what was spent, project by project in id order. The last statement of a transaction: the row is hot."""
    for project_id in sorted(settlements):
        one = settlements[project_id]
        session.execute(SETTLE, {"project": project_id, "released": one.released_usd, "spent": one.spent_usd})


def is_house(session: Session, tenant_id: int) -> bool:
    """Whether a tenant is the one that every installation begins with: whoever runs it."""
    return bool(session.execute(IS_HOUSE, {"tenant": tenant_id}).scalar_one())
