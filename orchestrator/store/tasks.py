"""Definitions of tasks: versions of a tenant's, each known by its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

_COLUMNS: Final = "id, name, version, definition, digest, based_on, created_at"
PUT: Final = text(f"""
    INSERT INTO tasks (tenant_id, name, version, definition, digest, based_on)
    SELECT :tenant, :name, coalesce((SELECT max(version) FROM tasks WHERE tenant_id = :tenant AND name = :name), 0) + 1,
        CAST(:definition AS jsonb), :digest, :based_on
    WHERE NOT EXISTS (SELECT FROM tasks WHERE tenant_id = :tenant AND name = :name AND digest = :digest)
    RETURNING {_COLUMNS}
""")
LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('task:' || :tenant || ':' || :name, 0))")
OF_DIGEST: Final = text(f"SELECT {_COLUMNS} FROM tasks WHERE tenant_id = :tenant AND name = :name AND digest = :digest")
OF_VERSION: Final = text(f"""
    SELECT {_COLUMNS} FROM tasks WHERE tenant_id = :tenant AND name = :name AND definition IS NOT NULL
        AND (CAST(:version AS integer) IS NULL OR version = :version)
        AND (CAST(:version AS integer) IS NOT NULL OR based_on IS NULL)
    ORDER BY version DESC LIMIT 1
""")
VERSIONS: Final = text(f"""
    SELECT {_COLUMNS} FROM tasks WHERE tenant_id = :tenant AND name = :name AND definition IS NOT NULL ORDER BY version DESC LIMIT :limit
""")
LATEST: Final = text(f"""
    SELECT DISTINCT ON (name) {_COLUMNS} FROM tasks WHERE tenant_id = :tenant AND definition IS NOT NULL AND based_on IS NULL
    ORDER BY name, version DESC LIMIT :limit
""")


def put(
    session: Session, tenant_id: int, name: str, digest: str, definition: Mapping[str, Any], based_on: str | None = None
) -> tuple[Row[Any], bool]:
    """Store a definition as the next version, unless it is one already: its row, and whether it is new.

    `based_on` is the digest of the task whose parameters it has in their places; such a version is no edit of the task itself.
    """
    values = {"tenant": tenant_id, "name": name, "digest": digest}
    if (known := session.execute(OF_DIGEST, values).one_or_none()) is not None:
        return known, False
    session.execute(LOCK, {"tenant": str(tenant_id), "name": name})
    row = session.execute(PUT, {**values, "definition": json.dumps(definition), "based_on": based_on}).one_or_none()
    return (row, True) if row is not None else (session.execute(OF_DIGEST, values).one(), False)


def find(session: Session, tenant_id: int, name: str, version: int | None = None) -> Row[Any] | None:
    """A version of a task; without one its latest, leaving out those that only have parameters in their places."""
    return session.execute(OF_VERSION, {"tenant": tenant_id, "name": name, "version": version}).one_or_none()


def versions(session: Session, tenant_id: int, name: str, *, limit: int = 1_000) -> Sequence[Row[Any]]:
    """Every version of a task, the newest first."""
    return session.execute(VERSIONS, {"tenant": tenant_id, "name": name, "limit": limit}).all()


def latest(session: Session, tenant_id: int, *, limit: int = 1_000) -> Sequence[Row[Any]]:
    """A tenant's tasks, each in its latest version, by name."""
    return session.execute(LATEST, {"tenant": tenant_id, "limit": limit}).all()
