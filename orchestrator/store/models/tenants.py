"""Who works with us: tenants, projects, keys, and what they may spend and ask for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, Small, Usd, When


class Tenant(Base):
    """A customer: sees and pays only its own."""

    __tablename__ = "tenants"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    name: Mapped[str]
    weight: Mapped[int]
    """Its share of the fleet, beside those of the others."""
    retention_days: Mapped[int | None]
    created_at: Mapped[When]
    disabled_at: Mapped[When | None]


class Project(Base):
    """A part of a tenant with budgets, quotas and a weight of its own."""

    __tablename__ = "projects"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    name: Mapped[str]
    weight: Mapped[int]
    created_at: Mapped[When]
    disabled_at: Mapped[When | None]


class ApiKey(Base):
    """A caller's key; only its SHA-256 is stored."""

    __tablename__ = "api_keys"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    name: Mapped[str]
    hash: Mapped[bytes]
    prefix: Mapped[str]
    """Its first signs, for people; empty for keys of before."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[When]
    expires_at: Mapped[When | None]
    last_used_at: Mapped[When | None]
    revoked_at: Mapped[When | None]


class Budget(Base):
    """What a tenant, a project, a key or a batch may spend in a period, what is held of it and what was charged."""

    __tablename__ = "budgets"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    scope: Mapped[str]
    """`tenant`, `project`, `key` or `batch`."""
    scope_id: Mapped[Big]
    period: Mapped[str]
    """`day`, `month` or `total`."""
    limit_usd: Mapped[Usd | None]
    """None only for a project's total, which keeps its books."""
    held_usd: Mapped[Usd]
    spent_usd: Mapped[Usd]
    period_start: Mapped[When]
    """When the period began that `spent_usd` is of: a later one has spent nothing yet."""
    alerted: Mapped[Small]
    """The highest percent of the limit that was told in the period."""
    refused_at: Mapped[When | None]


class Quota(Base):
    """How much a tenant, a project or a key may ask for; None where there is no limit."""

    __tablename__ = "quotas"
    scope: Mapped[str] = mapped_column(primary_key=True)
    scope_id: Mapped[Key]
    tenant_id: Mapped[Big]
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[Big | None]
    jobs_queued: Mapped[Big | None]
    jobs_in_flight: Mapped[int | None]
    file_bytes: Mapped[Big | None]


class AuditEntry(Base):
    """An administrative act: who did what to what, and when."""

    __tablename__ = "audit_log"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    at: Mapped[When]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    detail: Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """Which request a caller's key stood for, and what it made."""

    __tablename__ = "idempotency_keys"
    tenant_id: Mapped[Key]
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    target_id: Mapped[UUID]
    created_at: Mapped[When]


class ConfigVersion(Base):
    """An immutable version of the fleet, the policy or the prices."""

    __tablename__ = "config_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    digest: Mapped[str]
    content: Mapped[dict[str, Any]]
    created_at: Mapped[When]
