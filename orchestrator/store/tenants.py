"""Tenants and their projects, and the log of administrative acts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

HOUSE: Final = "default"
"""The name of the tenant that every installation begins with: whoever runs it."""

_TENANT: Final = "id, public_id, name, weight, retention_days, created_at, disabled_at"
ADD: Final = text(f"""
    INSERT INTO tenants (public_id, name, weight, retention_days) VALUES (:public_id, :name, :weight, :retention)
    ON CONFLICT (name) DO NOTHING RETURNING {_TENANT}
""")
LISTED: Final = text(f"SELECT {_TENANT} FROM tenants ORDER BY id LIMIT 10000")
FIND: Final = text(f"""
    SELECT {_TENANT} FROM tenants WHERE public_id = CAST(:public_id AS uuid) OR name = CAST(:name AS text)
""")
GET: Final = text(f"SELECT {_TENANT} FROM tenants WHERE id = :tenant")
CHANGE: Final = text(f"""
    UPDATE tenants SET weight = coalesce(:weight, weight), retention_days = coalesce(:retention, retention_days),
        disabled_at = CASE WHEN CAST(:disabled AS boolean) THEN coalesce(disabled_at, now())
            WHEN NOT CAST(:disabled AS boolean) THEN NULL ELSE disabled_at END
    WHERE id = :id RETURNING {_TENANT}
""")
_PROJECT: Final = "id, public_id, tenant_id, name, weight, created_at, disabled_at"
ADD_PROJECT: Final = text(f"""
    WITH new AS (
        INSERT INTO projects (public_id, tenant_id, name, weight) VALUES (:public_id, :tenant, :name, :weight)
        ON CONFLICT (tenant_id, name) DO NOTHING RETURNING {_PROJECT}
    ), books AS (
        INSERT INTO budgets (tenant_id, scope, scope_id, period) SELECT tenant_id, 'project', id, 'total' FROM new
    )
    SELECT * FROM new
""")
PROJECTS: Final = text(f"SELECT {_PROJECT} FROM projects WHERE tenant_id = :tenant ORDER BY id LIMIT 10000")
FIND_PROJECT: Final = text(f"""
    SELECT {_PROJECT} FROM projects
    WHERE tenant_id = :tenant AND (public_id = CAST(:public_id AS uuid) OR name = CAST(:name AS text))
""")
CHANGE_PROJECT: Final = text(f"""
    UPDATE projects SET weight = coalesce(:weight, weight),
        disabled_at = CASE WHEN CAST(:disabled AS boolean) THEN coalesce(disabled_at, now())
            WHEN NOT CAST(:disabled AS boolean) THEN NULL ELSE disabled_at END
    WHERE id = :id AND tenant_id = :tenant RETURNING {_PROJECT}
""")
# Those that are disabled while this waits for them are among the rows, and told by their newest state.
ENABLED_PROJECTS: Final = text(
    "SELECT id, disabled_at FROM projects WHERE tenant_id = :tenant ORDER BY id FOR NO KEY UPDATE"
)
IS_HOUSE: Final = text("SELECT EXISTS (SELECT FROM tenants WHERE id = :tenant AND name = 'default')")
LOG: Final = text("""
    INSERT INTO audit_log (tenant_id, actor, action, target, detail)
    VALUES (:tenant, :actor, :action, :target, CAST(:detail AS jsonb))
""")
LOGGED: Final = text("""
    SELECT id, at, actor, action, target, detail FROM audit_log WHERE tenant_id = :tenant AND id < :before ORDER BY id DESC LIMIT :limit
""")


def add(
    session: Session, public_id: UUID, name: str, *, weight: int = 1, retention_days: int | None = None
) -> Row[Any] | None:
    """Add a tenant; None if its name is taken."""
    values = {"public_id": public_id, "name": name, "weight": weight, "retention": retention_days}
    return session.execute(ADD, values).one_or_none()


def listed(session: Session) -> Sequence[Row[Any]]:
    """Every tenant."""
    return session.execute(LISTED).all()


def find(session: Session, *, public_id: UUID | None = None, name: str | None = None) -> Row[Any] | None:
    """A tenant by its public id or its name."""
    return session.execute(FIND, {"public_id": public_id, "name": name}).one_or_none()


def get(session: Session, tenant_id: int) -> Row[Any]:
    """A tenant by its inner id."""
    return session.execute(GET, {"tenant": tenant_id}).one()


def change(
    session: Session, tenant_id: int, *, weight: int | None, retention_days: int | None, disabled: bool | None
) -> Row[Any]:
    """Change what is given of a tenant."""
    values = {"id": tenant_id, "weight": weight, "retention": retention_days, "disabled": disabled}
    return session.execute(CHANGE, values).one()


def add_project(session: Session, tenant_id: int, public_id: UUID, name: str, *, weight: int = 1) -> Row[Any] | None:
    """Add a project with its books; None if the tenant has one of that name."""
    values = {"public_id": public_id, "tenant": tenant_id, "name": name, "weight": weight}
    return session.execute(ADD_PROJECT, values).one_or_none()


def projects(session: Session, tenant_id: int) -> Sequence[Row[Any]]:
    """A tenant's projects."""
    return session.execute(PROJECTS, {"tenant": tenant_id}).all()


def find_project(
    session: Session, tenant_id: int, *, public_id: UUID | None = None, name: str | None = None
) -> Row[Any] | None:
    """A tenant's project by its public id or its name."""
    return session.execute(FIND_PROJECT, {"tenant": tenant_id, "public_id": public_id, "name": name}).one_or_none()


def change_project(
    session: Session, tenant_id: int, project_id: int, *, weight: int | None, disabled: bool | None
) -> Row[Any]:
    """Change what is given of a project."""
    values = {"id": project_id, "tenant": tenant_id, "weight": weight, "disabled": disabled}
    return session.execute(CHANGE_PROJECT, values).one()


def enabled_projects(session: Session, tenant_id: int) -> set[int]:
    """The ids of a tenant's projects that are not disabled. None of them can be disabled until the transaction ends."""
    rows = session.execute(ENABLED_PROJECTS, {"tenant": tenant_id})
    return {row.id for row in rows if row.disabled_at is None}


def is_house(session: Session, tenant_id: int) -> bool:
    """Whether a tenant is the one that every installation begins with."""
    return bool(session.execute(IS_HOUSE, {"tenant": tenant_id}).scalar_one())


def log_act(
    session: Session, tenant_id: int, *, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Note an administrative act in the log of a tenant."""
    values = {
        "tenant": tenant_id,
        "actor": actor,
        "action": action,
        "target": target,
        "detail": json.dumps(detail or {}),
    }
    session.execute(LOG, values)


def logged(session: Session, tenant_id: int, *, before: int = 2**62, limit: int = 100) -> Sequence[Row[Any]]:
    """A tenant's log, the newest act first."""
    return session.execute(LOGGED, {"tenant": tenant_id, "before": before, "limit": limit}).all()
