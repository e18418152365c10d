"""Runs the migrations on the connection that `orchestrator.store.migrate` hands over."""

from __future__ import annotations

from alembic import context

from orchestrator.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
