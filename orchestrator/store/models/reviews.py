"""What people say of answers: the list of those to be looked at, and the versions that corrections make."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, When


class Review(Base):
    """An answer about a document of which a person should look at some fields."""

    __tablename__ = "reviews"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    batch_id: Mapped[Big]
    job_id: Mapped[Big]
    stored_on: Mapped[date]
    """The day of the job, with whose result it goes."""
    task: Mapped[str]
    task_version: Mapped[int]
    document_name: Mapped[str]
    document_hash: Mapped[bytes]
    fields: Mapped[dict[str, Any]]
    """By JSON pointer: the value, the reasons, and where it was found."""
    state: Mapped[str]
    """`open`, or what was decided: `corrected`, `confirmed` or `dropped`."""
    created_at: Mapped[When]
    decided_at: Mapped[When | None]
    decided_by: Mapped[str | None]


class ResultVersion(Base):
    """A result as a person corrected it, from version 2 on; version 1 is the result itself, which is never changed."""

    __tablename__ = "result_versions"
    job_id: Mapped[Key]
    version: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[Big]
    batch_id: Mapped[Big]
    stored_on: Mapped[date]
    body: Mapped[bytes]
    created_at: Mapped[When]
    decided_by: Mapped[str]
