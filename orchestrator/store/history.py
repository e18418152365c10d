"""What forecasts learn from: what a tenant's finished jobs took, as sums, and how busy each model is now.

Both are read as the house (`Context.house`), whose transactions see all rows: the statements name the tenant themselves, and row-level
security would look up the job of each request and each attempt once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.fleet import Model
from orchestrator.forecasting import MEASURES, PAIRS, Histories, History, Lane, Load, Moments, share_beside
from orchestrator.store.gauges import Gauge, gauges

BATCHES: Final = 64
"""The newest ended ones of a tenant are looked at, however much others have run since. An open one would mislead: long jobs run first."""
LOOKED_AT: Final = 16_384
"""Jobs of batches, in all: what each batch has of it is looked at in `BLOCKS` stretches, evenly spaced."""
BLOCKS: Final = 16
SINGLES: Final = 4_096
"""The newest jobs of no batch, if they are among the newest `AMONG` jobs of all; those of one day count as a batch."""
AMONG: Final = 20_000
MOST_LANES: Final = 1_000
MOST_GROUPS: Final = 5_000
"""The sums of so many kinds of jobs at most are read, those of the most jobs first."""

_PRODUCTS: Final = ", ".join(
    [
        *(f"sum({name})" for name in MEASURES),
        *(f"sum(x * {name})" for name in MEASURES),
        *(f"sum({MEASURES[a]} * {MEASURES[b]})" for a, b in PAIRS),
    ]
)
HISTORY: Final = text(f"""
    WITH ended AS (
        SELECT found.id FROM projects p CROSS JOIN LATERAL (
            SELECT b.id FROM batches b WHERE b.project_id = p.id AND b.status IN ('finalizing', 'completed')
            ORDER BY b.id DESC LIMIT :batches
        ) found WHERE p.tenant_id = :tenant ORDER BY found.id DESC LIMIT :batches
    ),
    blocks AS (
        SELECT e.id AS batch_id, start, step, block_jobs FROM ended e
        CROSS JOIN (SELECT :looked_at / (:blocks * greatest(1, count(*))) AS block_jobs FROM ended) c
        CROSS JOIN LATERAL (SELECT min(j.id) AS low, max(j.id) AS high FROM jobs j WHERE j.batch_id = e.id AND j.batch_id <> 0) r
        CROSS JOIN LATERAL (SELECT greatest(c.block_jobs, (r.high - r.low) / :blocks + 1) AS step) s
        CROSS JOIN LATERAL generate_series(r.low, r.high, step) start
    ),
    looked_at AS MATERIALIZED (
        SELECT k.batch_id AS batch, j.* FROM blocks k CROSS JOIN LATERAL (
            SELECT j.id, j.stored_on, j.task, j.model, j.state FROM jobs j
            WHERE j.batch_id = k.batch_id AND j.batch_id <> 0 AND j.id >= k.start AND j.id < k.start + k.step
            ORDER BY j.id LIMIT k.block_jobs
        ) j
        UNION ALL
        (SELECT date '2000-01-01' - j.stored_on, j.id, j.stored_on, j.task, j.model, j.state FROM jobs j
        WHERE j.id > (SELECT max(id) FROM jobs) - :among AND j.batch_id = 0 AND j.tenant_id = :tenant
        ORDER BY j.id DESC LIMIT :singles)
    ),
    measured AS MATERIALIZED (
        SELECT j.task, j.model, j.batch, f.input_tokens AS x,
            a.succeeded, a.input / coalesce(f.readings, 1) AS input, a.cached / coalesce(f.readings, 1) AS cached,
            (a.written - a.thought) / coalesce(f.choices, 1) AS spoken, a.thought / coalesce(f.choices, 1) AS thought, a.engine_s
        FROM looked_at j
        CROSS JOIN LATERAL (SELECT features FROM job_requests q WHERE q.job_id = j.id AND q.stored_on = j.stored_on LIMIT 1) r
        CROSS JOIN LATERAL json_to_record(r.features::json) f(input_tokens float8, choices float8, readings float8)
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE outcome = 'succeeded')::float8 AS succeeded,
                coalesce(sum(input_tokens) FILTER (WHERE outcome = 'succeeded'), 0)::float8 AS input,
                coalesce(sum(cached_tokens) FILTER (WHERE outcome = 'succeeded'), 0)::float8 AS cached,
                coalesce(sum(output_tokens) FILTER (WHERE outcome = 'succeeded'), 0)::float8 AS written,
                coalesce(sum(reasoning_tokens) FILTER (WHERE outcome = 'succeeded'), 0)::float8 AS thought,
                coalesce(sum(engine_s), 0)::float8 AS engine_s
            FROM attempts WHERE attempts.job_id = j.id
        ) a
        WHERE j.state IN (10, 11) AND f.input_tokens IS NOT NULL
    )
    SELECT task, model, count(*)::float8, sum(x), sum(x * x), {_PRODUCTS}, max(spoken + thought)
    FROM measured GROUP BY task, model, batch ORDER BY count(*) DESC LIMIT :groups
""")
REJECTIONS: Final = text("""
    SELECT j.task, a.model, count(*) FILTER (WHERE a.outcome = 'rejected') AS rejected, count(*) AS given
    FROM (
        SELECT id, task FROM jobs WHERE id > (SELECT max(id) FROM jobs) - :among AND tenant_id = :tenant AND state >= 10
            AND (cascade IS NOT NULL OR earlier_attempts > 0)
        ORDER BY id DESC LIMIT :looked_at
    ) j JOIN attempts a ON a.job_id = j.id AND a.outcome IN ('succeeded', 'rejected')
    GROUP BY j.task, a.model LIMIT :groups
""")
# A loose scan of the index: it hops from lane to lane.
WAITING: Final = text("""
    WITH RECURSIVE models AS (SELECT unnest(CAST(:models AS text[])) AS model),
    lanes AS (
        SELECT m.model, (SELECT min(j.lane) FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = m.model) AS lane
        FROM models m
        UNION ALL
        SELECT l.model, (
            SELECT min(j.lane) FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = l.model AND j.lane > l.lane
        ) FROM lanes l WHERE l.lane IS NOT NULL
    )
    SELECT l.model, p.tenant_id, p.id, t.weight, p.weight FROM lanes l LEFT JOIN batches b ON b.id = l.lane
    JOIN projects p ON p.id = coalesce(b.project_id, -l.lane) JOIN tenants t ON t.id = p.tenant_id
    WHERE b.paused_at IS NULL LIMIT :lanes
""")
OWN: Final = text("""
    SELECT p.tenant_id, p.id, t.weight, p.weight FROM projects p JOIN tenants t ON t.id = p.tenant_id
    WHERE p.id = :project AND p.tenant_id = :tenant
""")


def rejections(session: Session, tenant_id: int) -> dict[tuple[str | None, str], tuple[int, int]]:
    """By task and model, how many answers of a tenant's newest cascades were not accepted, and how many were given."""
    values = {"tenant": tenant_id, "among": AMONG, "looked_at": SINGLES, "groups": MOST_GROUPS}
    return {(row.task, row.model): (row.rejected, row.given) for row in session.execute(REJECTIONS, values)}


def histories(session: Session, tenant_id: int) -> Histories:
    """What the newest finished jobs of a tenant took, by task, model and batch.

    It looks up at most `LOOKED_AT` + `SINGLES` jobs, each with its request and its attempts: about 0.15 s on two cores that others
    use too, with 50,000 jobs in 100 batches as with 300,000 in 3, and a few milliseconds where little has run. Keep what it
    gives for a minute, as `Context` does with lengths.
    """
    values = {
        "tenant": tenant_id, "batches": BATCHES, "looked_at": LOOKED_AT, "blocks": BLOCKS, "singles": SINGLES, "among": AMONG,
        "groups": MOST_GROUPS,
    }  # fmt: skip
    found: dict[tuple[str | None, str], list[Moments]] = {}
    for task, model, *sums in session.execute(HISTORY, values):
        found.setdefault((task, model), []).append(_moments(sums))
    return Histories({key: History(tuple(groups)) for key, groups in found.items()})


def _moments(sums: Sequence[float]) -> Moments:
    count = len(MEASURES)
    one, with_x, pairs, most = sums[3 : 3 + count], sums[3 + count : 3 + 2 * count], sums[3 + 2 * count : -1], sums[-1]
    return Moments(sums[0], sums[1], sums[2], tuple(one), tuple(with_x), tuple(pairs), most)


def loads(session: Session, owner: Owner, models: Sequence[Model], seen_s: float) -> dict[str, Load]:
    """How busy some models are, for a further batch of an owner; workers count that were seen within `seen_s`."""
    own = Lane(*session.execute(OWN, {"project": owner.project_id, "tenant": owner.tenant_id}).one())
    names = [model.name for model in models]
    waiting: dict[str, list[Lane]] = {}
    for model, *lane in session.execute(WAITING, {"models": names, "lanes": MOST_LANES}):
        waiting.setdefault(model, []).append(Lane(*lane))
    by_name = {gauge.model: gauge for gauge in gauges(session, names, seen_s)}
    return {model.name: _load(model, by_name[model.name], own, waiting.get(model.name, [])) for model in models}


def _load(model: Model, gauge: Gauge, own: Lane, waiting: Sequence[Lane]) -> Load:
    return Load(
        slots=gauge.slots if gauge.workers else max(1.0, model.slots * (1 - model.reserve)),
        latency_s=model.expected_latency_s if gauge.latency_s is None else gauge.latency_s,
        ahead_s=gauge.work_s(model) / max(1, gauge.workers),
        share=share_beside(own, waiting),
        workers=gauge.workers,
    )
