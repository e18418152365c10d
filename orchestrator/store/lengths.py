"""How long answers were: what the order within a batch is learnt from."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.order import LEAST_SEEN, Learnt, Lengths

LOOKED_AT: Final = 50_000
"""Of the newest jobs, whosever they are: a bounded scan of the primary key, whatever the history holds."""
LENGTHS: Final = text("""
    SELECT j.task, j.model, regr_intercept(a.output_tokens, a.input_tokens), regr_slope(a.output_tokens, a.input_tokens),
        avg(a.output_tokens)::float8
    FROM (
        SELECT id, task, model FROM jobs
        WHERE id > (SELECT max(id) FROM jobs) - :looked_at AND tenant_id = :tenant AND task IS NOT NULL AND state = 10
    ) j JOIN attempts a ON a.job_id = j.id AND a.outcome = 'succeeded'
    GROUP BY j.task, j.model HAVING count(*) >= :least
""")


def learnt(session: Session, tenant_id: int) -> Lengths:
    """What the newest finished jobs of a tenant's tasks tell, by task and model."""
    values = {"tenant": tenant_id, "looked_at": LOOKED_AT, "least": LEAST_SEEN}
    return {
        (task, model): Learnt(mean, 0.0) if slope is None else Learnt(intercept, slope)
        for task, model, intercept, slope, mean in session.execute(LENGTHS, values)
    }
