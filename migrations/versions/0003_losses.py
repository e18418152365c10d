"""How often a job was lost with others: after the first time it runs in a small group, after the second one after the other.

Expands only: jobs and dispatches of the schemas before have been lost never, or run one after the other as before.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN losses smallint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE dispatches ADD COLUMN one_by_one boolean NOT NULL DEFAULT false")
    # Suspects of a release that knew no groups: a dispatch of theirs is run in order by workers of either release.
    op.execute("UPDATE dispatches SET one_by_one = true WHERE alone AND ended_at IS NULL")
    op.execute("UPDATE jobs SET losses = 2 WHERE alone AND state < 10")
    op.execute("GRANT UPDATE (losses) ON jobs TO rightsize_app, rightsize_worker")


def downgrade() -> None:
    op.execute("ALTER TABLE dispatches DROP COLUMN one_by_one")
    op.execute("ALTER TABLE jobs DROP COLUMN losses")
