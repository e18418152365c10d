"""A job may have a cascade: models that take over where an answer is not accepted. Such an answer is charged apart.

Expands only, and a release of before may run beside it: it makes no job with a cascade.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PROMPT = "SET LOCAL lock_timeout = '60s'"
KINDS = "ALTER TABLE transfers DROP CONSTRAINT transfers_kind_check, ADD CONSTRAINT transfers_kind_check CHECK (kind IN ({kinds})) NOT VALID"
COLUMN = "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS cascade text"
GRANT = "GRANT UPDATE (tier, model, cascade, worst_usd) ON jobs TO rightsize_worker"


def upgrade() -> None:
    """Add the column, let workers hand a job on, and know the new kind of transfer. No row is looked at."""
    for statement in (PROMPT, COLUMN, GRANT, KINDS.format(kinds="'charge', 'cost', 'machine', 'overrun', 'rejected'")):
        op.execute(statement)


def downgrade() -> None:
    """Take the column away. Charges for answers that were not accepted stay in the ledger, whose kinds are not looked at again."""
    op.execute("REVOKE UPDATE (tier, model, worst_usd) ON jobs FROM rightsize_worker")
    op.execute("ALTER TABLE jobs DROP COLUMN cascade")
    op.execute(KINDS.format(kinds="'charge', 'cost', 'machine', 'overrun'"))
