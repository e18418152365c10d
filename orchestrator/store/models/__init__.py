"""The tables as SQLAlchemy models: columns only. Indexes, partitions, roles, policies and grants live in `migrations/`.

A test holds these against the migrated schema, so that the two cannot part. Queries are in the modules beside this folder.
"""

from orchestrator.store.models import ledger, reviews, rightsizing, running, tenants, webhooks, work
from orchestrator.store.models.base import Base

__all__ = ["Base", "ledger", "reviews", "rightsizing", "running", "tenants", "webhooks", "work"]
