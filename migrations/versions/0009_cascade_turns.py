"""A tier of a cascade has its own attempts, and results that are being made are found as those that are there.

Expands only, and a release of before may run beside it: it counts the attempts of all tiers of a cascade together, as it did.

Revision ID: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PROMPT = "SET LOCAL lock_timeout = '60s'"
EARLIER = "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS earlier_attempts smallint NOT NULL DEFAULT 0"
GRANT = "GRANT UPDATE (earlier_attempts) ON jobs TO rightsize_worker"
# Whatever their state: a job enters it once, and is not written again for each step that it takes.
BY_KEY = "CREATE INDEX IF NOT EXISTS jobs_by_reuse_key ON jobs (tenant_id, reuse_key, id) WHERE reuse_key IS NOT NULL"


def upgrade() -> None:
    """Add the column and the index, which takes the place of the one over ended jobs."""
    for statement in (PROMPT, EARLIER, GRANT, BY_KEY, "DROP INDEX IF EXISTS jobs_reusable"):
        op.execute(statement)


def downgrade() -> None:
    """Put the old index back."""
    op.execute(
        "CREATE INDEX IF NOT EXISTS jobs_reusable ON jobs (tenant_id, reuse_key, id) WHERE reuse_key IS NOT NULL AND state = 10"
    )
    op.execute("DROP INDEX jobs_by_reuse_key")
    op.execute("ALTER TABLE jobs DROP COLUMN earlier_attempts")
