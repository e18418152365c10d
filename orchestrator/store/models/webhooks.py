"""Webhooks: who is told of events, and the events on their way."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, When


class WebhookEndpoint(Base):
    """An address that is told of events."""

    __tablename__ = "webhook_endpoints"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    name: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """What messages are signed with: the present one, and while it is rotated the one before."""
    old_secret_until: Mapped[When | None]
    created_at: Mapped[When]
    updated_at: Mapped[When]
    disabled_at: Mapped[When | None]
    disabled_reason: Mapped[str | None]


class WebhookDelivery(Base):
    """One event on its way to one endpoint: written with what it tells of, sent until it is delivered or dead."""

    __tablename__ = "webhook_deliveries"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    """The `webhook-id` of every attempt."""
    tenant_id: Mapped[Big]
    endpoint_id: Mapped[Big]
    type: Mapped[str]
    payload: Mapped[bytes]
    created_at: Mapped[When]
    next_at: Mapped[When | None]
    """None once it is delivered or dead."""
    attempts: Mapped[int]
    last_code: Mapped[str | None]
    last_detail: Mapped[str | None]
    delivered_at: Mapped[When | None]
    dead_at: Mapped[When | None]
