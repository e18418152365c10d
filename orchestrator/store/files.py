"""Rows of files; their bytes lie in the blob store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner

ADD: Final = text("""
    INSERT INTO files (public_id, tenant_id, project_id, api_key_id, purpose, filename, bytes, blob_key, expires_at)
    VALUES (:public_id, :tenant, :project, :key, :purpose, :filename, :bytes, :blob_key, now() + make_interval(secs => :expires_s))
    RETURNING id, created_at, expires_at
""")
_COLUMNS: Final = "id, public_id, purpose, filename, bytes, blob_key, created_at, expires_at"
_THERE: Final = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
FIND: Final = text(f"SELECT {_COLUMNS} FROM files WHERE public_id = :public_id AND tenant_id = :tenant AND {_THERE}")
GET: Final = text(f"SELECT {_COLUMNS} FROM files WHERE id = :id")
LISTED: Final = {
    order: text(f"""
        SELECT {_COLUMNS} FROM files WHERE project_id = :project AND {_THERE} AND id {sign} :after
            AND (CAST(:purpose AS text) IS NULL OR purpose = :purpose)
        ORDER BY id {order} LIMIT :limit
    """)
    for order, sign in (("desc", "<"), ("asc", ">"))
}
DELETE: Final = text("UPDATE files SET deleted_at = now() WHERE id = :id AND deleted_at IS NULL")
IS_READ: Final = text("SELECT EXISTS (SELECT FROM batches WHERE input_file_id = :id AND status = 'validating')")
EXPIRE: Final = text("""
    UPDATE files SET deleted_at = now() WHERE id IN (
        SELECT f.id FROM files f JOIN tenants t ON t.id = f.tenant_id
        WHERE f.deleted_at IS NULL
            AND coalesce(f.expires_at, f.created_at + make_interval(days => coalesce(t.retention_days, :days))) <= now()
            AND NOT EXISTS (SELECT FROM batches b WHERE b.input_file_id = f.id AND b.status IN ('validating', 'in_progress'))
        ORDER BY f.id LIMIT 1000
    )
""")
TO_ERASE: Final = text(
    "SELECT id, blob_key FROM files WHERE deleted_at IS NOT NULL AND blob_key <> '' ORDER BY id LIMIT 1000"
)
ERASED: Final = text("UPDATE files SET blob_key = '' WHERE id = ANY(CAST(:ids AS bigint[]))")
KNOWN_KEYS: Final = text("SELECT blob_key FROM files WHERE blob_key = ANY(CAST(:keys AS text[]))")


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


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose bytes are whole in the blob store."""

    purpose: str
    filename: str
    size: int
    blob_key: str
    expires_s: int | None = None
    """From now; None for as long as the tenant's retention."""


def add(session: Session, owner: Owner, public_id: UUID, new: NewFile) -> FileRow:
    """Store the row of a file."""
    values = {
        "public_id": public_id, "tenant": owner.tenant_id, "project": owner.project_id, "key": owner.api_key_id,
        "purpose": new.purpose, "filename": new.filename, "bytes": new.size, "blob_key": new.blob_key, "expires_s": new.expires_s,
    }  # fmt: skip
    row = session.execute(ADD, values).one()
    return FileRow(row.id, public_id, new.purpose, new.filename, new.size, new.blob_key, row.created_at, row.expires_at)


def find(session: Session, tenant_id: int, public_id: UUID) -> FileRow | None:
    """A tenant's file by its public id, unless it was deleted or has expired."""
    row = session.execute(FIND, {"public_id": public_id, "tenant": tenant_id}).one_or_none()
    return FileRow(*row) if row else None


def get(session: Session, file_id: int) -> FileRow:
    """A file by its inner id."""
    return FileRow(*session.execute(GET, {"id": file_id}).one())


def listed(
    session: Session, project_id: int, *, purpose: str | None, after: int | None, newest_first: bool, limit: int
) -> list[FileRow]:
    """A project's files beyond one of them, in the order of their making."""
    first = 2**62 if newest_first else 0
    values = {"project": project_id, "purpose": purpose, "after": first if after is None else after, "limit": limit}
    return [FileRow(*row) for row in session.execute(LISTED["desc" if newest_first else "asc"], values)]


def delete(session: Session, file_id: int) -> None:
    """Say that a file is gone; batches that named it still do."""
    session.execute(DELETE, {"id": file_id})


def is_read(session: Session, file_id: int) -> bool:
    """Whether a batch is still reading its rows from a file."""
    return bool(session.execute(IS_READ, {"id": file_id}).scalar_one())


def expire(session: Session, keep_days: int) -> int:
    """Say that files are gone whose time is up, or the retention of their tenant; returns how many."""
    return int(session.execute(EXPIRE, {"days": keep_days}).rowcount)  # type: ignore[attr-defined]


def to_erase(session: Session) -> list[tuple[int, str]]:
    """Files that are gone and whose bytes may still lie in the blob store."""
    return [(row.id, row.blob_key) for row in session.execute(TO_ERASE)]


def erased(session: Session, file_ids: Sequence[int]) -> None:
    """Note that the bytes of files are gone as well."""
    session.execute(ERASED, {"ids": list(file_ids)})


def known_keys(session: Session, keys: Sequence[str]) -> set[str]:
    """Those of some blob keys that files have."""
    return set(session.execute(KNOWN_KEYS, {"keys": list(keys)}).scalars())
