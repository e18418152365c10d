"""Tasks have definitions: versions that never change, each known by its digest. Jobs of documents say what their result may be found by again.

Expands only, and a release of before may run beside it: it makes no job of a document.

Revision ID: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PROMPT = "SET LOCAL lock_timeout = '60s'"
TASKS = """
ALTER TABLE tasks ADD COLUMN IF NOT EXISTS definition jsonb,
    ADD COLUMN IF NOT EXISTS digest text,
    ADD COLUMN IF NOT EXISTS based_on text;
CREATE UNIQUE INDEX IF NOT EXISTS tasks_by_digest ON tasks (tenant_id, name, digest) WHERE digest IS NOT NULL;
"""
JOBS = """
ALTER TABLE jobs ADD COLUMN IF NOT EXISTS document_hash bytea,
    ADD COLUMN IF NOT EXISTS reuse_key bytea,
    ADD COLUMN IF NOT EXISTS reused_job_id bigint,
    ADD COLUMN IF NOT EXISTS pieces integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS level smallint NOT NULL DEFAULT 0;
"""
ATTEMPTS = "ALTER TABLE attempts ADD COLUMN IF NOT EXISTS detail text"
# Callers define tasks; a version never changes.
GRANT = "GRANT INSERT ON tasks TO rightsize_app; GRANT USAGE ON SEQUENCE tasks_id_seq TO rightsize_app"
# Small: only jobs of documents that succeeded are in it, each until another result takes its place.
REUSABLE = """
CREATE INDEX IF NOT EXISTS jobs_reusable ON jobs (tenant_id, reuse_key, id) WHERE reuse_key IS NOT NULL AND state = 10;
CREATE INDEX IF NOT EXISTS jobs_of_document ON jobs (tenant_id, document_hash) WHERE document_hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_of_parent ON jobs (parent_job_id, level, id) WHERE parent_job_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_gathering ON jobs (id) WHERE state = 4;
"""


def upgrade() -> None:
    """Add the columns and the indexes; no row is looked at but by the indexes, which find none."""
    for statement in (PROMPT, TASKS, JOBS, ATTEMPTS, GRANT, REUSABLE):
        op.execute(statement)


def downgrade() -> None:
    """Take them away: definitions are lost, results stay."""
    op.execute(
        "DROP INDEX jobs_reusable; DROP INDEX jobs_of_document; DROP INDEX jobs_of_parent; DROP INDEX jobs_gathering; DROP INDEX tasks_by_digest"
    )
    op.execute("REVOKE INSERT ON tasks FROM rightsize_app")
    op.execute("ALTER TABLE attempts DROP COLUMN detail")
    op.execute(
        "ALTER TABLE jobs DROP COLUMN document_hash, DROP COLUMN reuse_key, DROP COLUMN reused_job_id, DROP COLUMN pieces, DROP COLUMN level"
    )
    op.execute("DELETE FROM tasks WHERE specialist IS NULL")
    op.execute("ALTER TABLE tasks DROP COLUMN definition, DROP COLUMN digest, DROP COLUMN based_on")
