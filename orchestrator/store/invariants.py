"""The invariants as SQL that must return no rows. Run by `rightsize doctor`, and by tests after every fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Check:
    """One statement that must find nothing. `:grace_s` is the recovery interval, `:most` the maximum of attempts."""

    name: str
    says: str
    sql: str


@dataclass(frozen=True, slots=True)
class Violation:
    """What a check found."""

    name: str
    says: str
    examples: Sequence[str]


OPEN_BATCH: Final = (
    "(j.batch_id = 0 OR EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.in_progress_at IS NOT NULL))"
)

OF_BUDGET: Final = (
    "CASE b.scope WHEN 'tenant' THEN {row}.tenant_id WHEN 'project' THEN {row}.project_id WHEN 'key' THEN {row}.api_key_id "
    "ELSE {row}.batch_id END = b.scope_id AND {row}.tenant_id = b.tenant_id"
)

# Whole numbers, so that no division rounds: what was metered is US dollars an hour, times seconds.
AT_END: Final = "(i.carried + i.usd_per_hour * extract(epoch FROM i.ended_at - i.started_at))"
METERED_MICRO: Final = "div({metered} * 2000000 + 3600, 7200)"

# Retention drops whole weeks of results and leaves the jobs. A week is there while it has a partition, or rows among the rest; and
# what was stored since yesterday no retention takes.
RESULTS_KEPT: Final = (
    "(j.stored_on >= CAST(now() AT TIME ZONE 'UTC' AS date) - 1 OR CAST(date_trunc('week', j.stored_on) AS date) IN ("
    "SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = CAST('results' AS regclass) AND c.relname ~ '_[0-9]{8}$' "
    "UNION SELECT CAST(date_trunc('week', s.stored_on) AS date) FROM results_rest s))"
)

CHECKS: Final = (
    Check(
        "I1-assigned", "an assigned job belongs to a dispatch that has not ended",
        "SELECT j.id FROM jobs j LEFT JOIN dispatches d ON d.id = j.dispatch_id "
        "WHERE j.state = 2 AND (d.id IS NULL OR d.ended_at < now() - make_interval(secs => :grace_s))",
    ),
    Check("I1-waiting", "a waiting job has a retry time", "SELECT id FROM jobs WHERE state = 3 AND retry_at IS NULL"),
    Check(
        "I1-overdue", "no job waits past its deadline",
        "SELECT id FROM jobs j WHERE state IN (1, 3) AND deadline < now() - make_interval(secs => :grace_s) AND " + OPEN_BATCH,
    ),
    Check(
        "I1-pieces", "a document in pieces waits for some of them, and no piece outlives its document",
        "SELECT p.id FROM jobs p WHERE p.state = 4 AND p.reused_job_id IS NULL AND p.created_at < now() - make_interval(secs => :grace_s) AND "
        + OPEN_BATCH.replace("j.", "p.") + " AND NOT EXISTS (SELECT FROM jobs c WHERE c.parent_job_id = p.id AND c.level = p.level "
        "AND (c.state < 10 OR c.ended_at > now() - make_interval(secs => :grace_s))) "
        "UNION ALL SELECT c.id FROM jobs c JOIN jobs p ON p.id = c.parent_job_id WHERE c.state < 10 AND p.state >= 10 "
        "AND p.ended_at < now() - make_interval(secs => :grace_s)",
    ),
    Check(
        "I1-coalesced", "a job that waits for another's result does so while that is made",
        "SELECT f.id FROM jobs f LEFT JOIN jobs m ON m.id = f.reused_job_id WHERE f.state = 4 AND f.reused_job_id IS NOT NULL AND "
        + OPEN_BATCH.replace("j.", "f.") + " AND f.created_at < now() - make_interval(secs => :grace_s) "
        "AND (m.id IS NULL OR m.ended_at < now() - make_interval(secs => :grace_s))",
    ),
    Check(
        "I2-result", "a succeeded job has its result, from the attempt that won",
        "SELECT j.id FROM jobs j LEFT JOIN results r ON r.job_id = j.id AND r.stored_on = j.stored_on "
        f"WHERE j.state = 10 AND CASE WHEN r.job_id IS NULL THEN {RESULTS_KEPT} ELSE r.attempt <> j.attempts END",
    ),
    Check(
        "I2-stray", "a result belongs to a succeeded job",
        "SELECT r.job_id FROM results r LEFT JOIN jobs j ON j.id = r.job_id WHERE j.id IS NULL OR j.state <> 10",
    ),
    Check(
        "I2-attempt", "a succeeded job has exactly one attempt that succeeded, but for one whose result was there already",
        "SELECT j.id FROM jobs j WHERE j.state = 10 AND (SELECT count(*) FROM attempts a "
        "WHERE a.job_id = j.id AND a.outcome = 'succeeded') <> CASE WHEN j.reused_job_id IS NULL AND (j.pieces = 0 OR j.attempts > 0) THEN 1 ELSE 0 END",
    ),
    Check(
        "I3-charge", "a succeeded job has exactly one charge, and no other job has any",
        "SELECT j.id FROM jobs j WHERE j.state >= 10 AND (SELECT count(*) FROM transfers t WHERE t.job_id = j.id "
        "AND t.kind = 'charge') <> CASE WHEN j.state = 10 AND NOT j.unbilled AND j.reused_job_id IS NULL AND (j.pieces = 0 OR j.attempts > 0) THEN 1 ELSE 0 END",
    ),
    Check(
        "I3-rejected", "an answer that was not accepted, and no other attempt, is charged apart",
        "SELECT coalesce(a.job_id, t.job_id) FROM (SELECT job_id, attempt FROM attempts WHERE outcome = 'rejected') a "
        "FULL JOIN (SELECT job_id, attempt FROM transfers WHERE kind = 'rejected') t USING (job_id, attempt) "
        "WHERE a.job_id IS NULL OR t.job_id IS NULL",
    ),
    Check(
        "I3-cost", "each attempt has one cost, and each cost an attempt",
        "SELECT coalesce(a.job_id, t.job_id) FROM attempts a FULL JOIN (SELECT job_id, attempt FROM transfers WHERE kind = 'cost') t "
        "USING (job_id, attempt) WHERE a.model IS NULL OR t.job_id IS NULL",
    ),
    Check(
        "I3-balance", "debits and credits of the ledger are equal",
        "SELECT sum(amount_usd) FROM ledger_entries HAVING sum(amount_usd) <> 0",
    ),
    Check("I3-hold", "no hold outlives its job", "SELECT id FROM jobs WHERE state >= 10 AND held_usd <> 0"),
    Check(
        "I3-held", "what a budget holds is what its open jobs hold",
        "SELECT b.scope || ' ' || b.scope_id FROM budgets b WHERE b.held_usd <> (SELECT coalesce(sum(j.held_usd), 0) FROM jobs j "
        f"WHERE j.state < 10 AND {OPEN_BATCH} AND {OF_BUDGET.format(row='j')})",
    ),
    Check(
        "I3-spent", "what a budget has spent in its period is the sum of its charges",
        "SELECT b.scope || ' ' || b.scope_id FROM budgets b WHERE b.spent_usd <> (SELECT coalesce(sum(t.amount_usd), 0) FROM transfers t "
        f"WHERE t.kind IN ('charge', 'rejected') AND t.created_at >= b.period_start AND {OF_BUDGET.format(row='t')})",
    ),
    Check(
        "I3-overrun", "what a job took is what it was charged, and what of it we bear beyond the most that was held",
        "SELECT c.job_id FROM transfers c JOIN transfers k ON k.job_id = c.job_id AND k.attempt = c.attempt AND k.kind = 'cost' "
        "LEFT JOIN transfers o ON o.job_id = c.job_id AND o.attempt = c.attempt AND o.kind = 'overrun' "
        "WHERE c.kind IN ('charge', 'rejected') AND c.amount_usd + coalesce(o.amount_usd, 0) <> k.amount_usd",
    ),
    Check(
        "I3-machine", "jobs plus idle are the bill of each closed interval of a machine, as the ledger has them",
        "SELECT i.id FROM machine_intervals i "
        "LEFT JOIN (SELECT a.interval_id, count(*) AS attempts, coalesce(sum(t.amount_usd), 0) AS jobs_usd FROM attempts a "
        "LEFT JOIN transfers t ON t.job_id = a.job_id AND t.attempt = a.attempt AND t.kind = 'machine' "
        "WHERE a.interval_id IS NOT NULL GROUP BY a.interval_id) s ON s.interval_id = i.id "
        "LEFT JOIN idle_transfers e ON e.interval_id = i.id "
        "WHERE CASE WHEN i.closed_at IS NULL THEN s.jobs_usd > 0 OR e.interval_id IS NOT NULL "
        "ELSE e.amount_usd IS DISTINCT FROM i.idle_usd OR coalesce(s.jobs_usd, 0) <> i.jobs_usd "
        "OR i.bill_usd <> i.jobs_usd + i.idle_usd OR coalesce(s.attempts, 0) <> i.attempts "
        f"OR i.bill_usd * 1000000 <> {METERED_MICRO.format(metered=AT_END)} - {METERED_MICRO.format(metered='i.carried')} END",
    ),
    Check(
        "I3-machine-time", "a worker's intervals follow each other without gap or overlap, and each carries what was metered before",
        "SELECT i.id FROM machine_intervals n LEFT JOIN machine_intervals i "
        "ON i.worker_id = n.worker_id AND i.model = n.model AND i.number = n.number - 1 "
        f"WHERE CASE WHEN n.number = 1 THEN n.carried <> 0 ELSE i.ended_at IS DISTINCT FROM n.started_at OR {AT_END} <> n.carried END",
    ),
    Check(
        "I3-machine-open", "no interval of a machine stays open past its worker, and none that has ended is left out when others are booked",
        "SELECT id FROM machine_intervals i WHERE closed_at IS NULL AND last_seen < now() - make_interval(secs => :grace_s) "
        "AND (ended_at IS NULL OR EXISTS (SELECT FROM machine_intervals c WHERE c.closed_at > i.ended_at + make_interval(secs => :grace_s)))",
    ),
    Check(
        "I3-machine-share", "a machine's share belongs to an attempt in a closed interval of that machine's model",
        "SELECT t.job_id FROM transfers t LEFT JOIN attempts a USING (job_id, attempt) "
        "LEFT JOIN machine_intervals i ON i.id = a.interval_id AND i.model = a.model "
        "WHERE t.kind = 'machine' AND i.closed_at IS NULL "
        "UNION ALL SELECT a.job_id FROM attempts a LEFT JOIN machine_intervals i ON i.id = a.interval_id AND i.model = a.model "
        "WHERE a.interval_id IS NOT NULL AND i.id IS NULL",
    ),
    Check(
        "I4-progress", "a batch's progress says how many of its jobs have ended",
        "SELECT b.id FROM batches b WHERE b.in_progress_at IS NOT NULL "
        "AND (SELECT coalesce(sum(p.jobs), 0) FROM batch_progress p WHERE p.batch_id = b.id) <> "
        "(SELECT count(*) FROM jobs j WHERE j.batch_id = b.id AND j.state >= 10 AND j.parent_job_id IS NULL)",
    ),
    Check(
        "I4-counts", "the frozen counts of an ended batch add up to its rows",
        "SELECT b.id FROM batches b WHERE b.status IN ('completed', 'expired', 'cancelled') AND b.in_progress_at IS NOT NULL "
        "AND (b.total <> (b.final->>'total')::int OR b.total <> (b.final->>'completed')::int + (b.final->>'failed')::int "
        "OR b.total <> (SELECT count(*) FROM jobs j WHERE j.batch_id = b.id AND j.state >= 10 AND j.parent_job_id IS NULL))",
    ),
    Check(
        "I4-custom-id", "no custom_id appears twice in a batch",
        "SELECT batch_id FROM jobs WHERE batch_id <> 0 AND parent_job_id IS NULL GROUP BY batch_id, custom_id HAVING count(*) > 1",
    ),
    Check(
        "I5-lease", "no lease stays expired beyond the recovery interval",
        "SELECT id FROM dispatches WHERE ended_at IS NULL AND lease_until < now() - make_interval(secs => :grace_s)",
    ),
    Check(
        "I5-unpublished", "no dispatch stays unclaimed beyond the recovery interval",
        "SELECT id FROM dispatches WHERE ended_at IS NULL AND claimed_at IS NULL AND claim_by < now() - make_interval(secs => :grace_s)",
    ),
    Check("I5-attempts", "attempts never pass the maximum", "SELECT id FROM jobs WHERE attempts - earlier_attempts > :most"),
    Check(
        "I7-target", "an idempotency key names something that exists",
        "SELECT k.key FROM idempotency_keys k WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.public_id = k.target_id) "
        "AND NOT EXISTS (SELECT FROM batches b WHERE b.public_id = k.target_id)",
    ),
    Check(
        "I8-tenant", "a job, its batch and its ledger entries belong to one tenant",
        "SELECT j.id FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE j.tenant_id <> b.tenant_id "
        "UNION ALL SELECT t.job_id FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE j.tenant_id <> t.tenant_id",
    ),
)  # fmt: skip


def check(session: Session, *, grace_s: float, most_attempts: int) -> list[Violation]:
    """Run every check on one snapshot and return what does not hold; an empty list is what everybody wants."""
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    session.execute(text("SET LOCAL statement_timeout = '10min'"))
    found = []
    for one in CHECKS:
        rows = session.execute(
            text(f"SELECT * FROM ({one.sql}) found LIMIT 5"), {"grace_s": grace_s, "most": most_attempts}
        )
        examples = [str(row[0]) for row in rows]
        if examples:
            found.append(Violation(one.name, one.says, examples))
    return found
