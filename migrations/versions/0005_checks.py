"""No hold is below nothing, and the database itself sees to it; a budget's alerts begin anew with its period, whoever begins it.

Refusals are found by the task that they answer, and what waits for an endpoint by the endpoint.

Expands only, and a release of before may run beside it. Books that fell below nothing are put right first: a job that has ended holds
nothing, and a budget what its open jobs hold. The table of jobs is large: its rows are looked at without keeping anybody out.

Revision ID: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The owner of the tables is under row-level security as well, and sees none of their rows.
AS_ORCHESTRATOR = "SET LOCAL ROLE rightsize_orchestrator"
AS_OWNER = "RESET ROLE"
# Looking at every job may take its time; waiting for a table may not, since everybody queues behind who does.
PATIENT = "SET LOCAL statement_timeout = 0"
PROMPT = "SET LOCAL lock_timeout = '60s'"

# Whoever holds or settles writes the budget last: once it is locked, what is not committed yet counts afterwards.
MEND = """
DO $$
DECLARE
    mended bigint;
BEGIN
    UPDATE jobs SET held_usd = 0 WHERE held_usd < 0;
    GET DIAGNOSTICS mended = ROW_COUNT;
    LOCK TABLE budgets IN ACCESS EXCLUSIVE MODE;
    IF mended > 0 OR EXISTS (SELECT FROM budgets WHERE held_usd < 0) THEN
        UPDATE budgets b SET held_usd = (
            SELECT coalesce(sum(j.held_usd), 0) FROM jobs j
            WHERE j.state < 10 AND j.tenant_id = b.tenant_id
                AND (j.batch_id = 0 OR EXISTS (SELECT FROM batches o WHERE o.id = j.batch_id AND o.in_progress_at IS NOT NULL))
                AND b.scope_id = CASE b.scope
                    WHEN 'tenant' THEN j.tenant_id WHEN 'project' THEN j.project_id WHEN 'key' THEN j.api_key_id ELSE j.batch_id END
        );
    END IF;
END $$
"""
ADD = """
ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_held_usd_check,
    ADD CONSTRAINT {table}_held_usd_check CHECK (held_usd >= 0) NOT VALID
"""
VALIDATE = "ALTER TABLE {table} VALIDATE CONSTRAINT {table}_held_usd_check"
# Workers begin periods and may not touch what was told of a budget. A statement that sets both is an alert's of the release before:
# it is told once more.
PERIODS = """
CREATE OR REPLACE FUNCTION begin_period() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.alerted := 0;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER budgets_begin_period BEFORE UPDATE OF period_start ON budgets
    FOR EACH ROW WHEN (NEW.period_start > OLD.period_start) EXECUTE FUNCTION begin_period()
"""
WAITING = "CREATE INDEX IF NOT EXISTS webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, next_at) WHERE next_at IS NOT NULL"
INDEX = "CREATE INDEX IF NOT EXISTS refusals_of_task ON refusals (tenant_id, task_id)"


def upgrade() -> None:
    """Mend what fell below nothing, then let nothing fall so far any more. Each part commits, and all may be done again."""
    for statement in (
        PATIENT,
        PROMPT,
        AS_ORCHESTRATOR,
        MEND,
        AS_OWNER,
        ADD.format(table="budgets"),
        VALIDATE.format(table="budgets"),
        PERIODS,
    ):
        op.execute(statement)
    # Who has jobs or events locked may wait for a budget: no other table is locked together with budgets.
    with op.get_context().autocommit_block():
        op.execute(ADD.format(table="jobs"))
        op.execute("SET statement_timeout = 0")
        op.execute(VALIDATE.format(table="jobs"))
        op.execute("RESET statement_timeout")
        op.execute(INDEX)
        op.execute(WAITING)


def downgrade() -> None:
    """Take the checks, the trigger and the indexes away again; what was mended stays."""
    op.execute("DROP TRIGGER budgets_begin_period ON budgets")
    op.execute("DROP FUNCTION begin_period")
    op.execute("DROP INDEX webhook_deliveries_waiting")
    for table in ("budgets", "jobs"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_held_usd_check")
    op.execute("DROP INDEX refusals_of_task")
