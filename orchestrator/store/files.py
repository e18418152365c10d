"""Rows of files; their bytes lie in the blob store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

ADD: Final = text("""
    INSERT INTO files (public_id, tenant_id, project_id, api_key_id, purpose, filename, bytes, blob_key)
    VALUES (:public_id, :tenant, :project, :key, :purpose, :filename, :bytes, :blob_key) RETURNING id, created_at
""")
_COLUMNS: Final = "id, public_id, purpose, filename, bytes, blob_key, created_at, expires_at"
FIND: Final = text(f"SELECT {_COLUMNS} FROM files WHERE public_id = :public_id AND tenant_id = :tenant")
GET: Final = text(f"SELECT {_COLUMNS} FROM files WHERE id = :id")


@dataclass(frozen=True, slots=True)
class FileRow:
    """One stored file."""

    id: int
    public_id: UUID
    purpose: str
    filename: str
    bytes: int
    blob_key: str
    created_at: datetime
    expires_at: datetime | None


def add(
    session: Session, owner: Owner, public_id: UUID, *, purpose: str, filename: str, size: int, blob_key: str
) -> FileRow:
    """Store the row of a file whose bytes are already whole in the blob store."""
    values = {
        "public_id": public_id, "tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id,
        "purpose": purpose, "filename": filename, "bytes": size, "blob_key": blob_key,
    }  # fmt: skip
    row = session.execute(ADD, values).one()
    return FileRow(row.id, public_id, purpose, filename, size, blob_key, row.created_at, None)


def find(session: Session, tenant_id: int, public_id: UUID) -> FileRow | None:
    """A tenant's file by its public id."""
    row = session.execute(FIND, {"public_id": public_id, "tenant": tenant_id}).one_or_none()
    return FileRow(*row) if row else None


def get(session: Session, file_id: int) -> FileRow:
    """A file by its inner id."""
    return FileRow(*session.execute(GET, {"id": file_id}).one())
