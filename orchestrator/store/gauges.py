"""Figures of the whole installation for /metrics: two statements, cheap however long the backlog is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.fleet import Model

COUNTED: Final = 50_000
"""Queued jobs of a model are counted exactly up to here; beyond it the planner's statistics speak."""

# `lanes` hops from lane to lane over the index, so that it costs as many steps as there are open batches.
GAUGES: Final = text("""
    WITH RECURSIVE models AS (SELECT unnest(CAST(:models AS text[])) AS model),
    lanes AS (
        SELECT m.model, (SELECT min(j.lane) FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = m.model) AS lane
        FROM models m
        UNION ALL
        SELECT l.model, (
            SELECT min(j.lane) FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = l.model AND j.lane > l.lane
        ) FROM lanes l WHERE l.lane IS NOT NULL
    ),
    oldest AS (
        SELECT l.model, min(coalesce(b.in_progress_at, (
            SELECT min(s.created_at) FROM (
                SELECT j.created_at FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = l.model AND j.lane = l.lane
                LIMIT 1000
            ) s
        ))) AS since
        FROM lanes l LEFT JOIN batches b ON b.id = l.lane WHERE l.lane IS NOT NULL GROUP BY l.model
    )
    SELECT m.model,
        (SELECT count(*) FROM (
            SELECT 1 FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = m.model LIMIT :counted
        ) fresh)
        + (SELECT count(*) FROM (SELECT 1 FROM jobs j WHERE j.state = 1 AND j.requeued AND j.model = m.model LIMIT :counted) again)
            AS queued,
        (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = 'jobs_queued'::regclass) AS queued_of_all,
        open.dispatches, open.outstanding,
        coalesce(w.workers, 0) AS workers, coalesce(w.slots, 0) AS slots, w.latency_s,
        coalesce(extract(epoch FROM now() - least(o.since, (
            SELECT j.created_at FROM jobs j WHERE j.state = 1 AND j.requeued AND j.model = m.model ORDER BY j.id LIMIT 1
        ))), 0)::float8 AS oldest_s
    FROM models m LEFT JOIN oldest o ON o.model = m.model CROSS JOIN LATERAL (
        SELECT count(*) AS dispatches, coalesce(sum(d.size), 0) AS outstanding FROM dispatches d
        WHERE d.ended_at IS NULL AND d.model = m.model
    ) open LEFT JOIN (
        SELECT model, count(*) AS workers, sum(slots) AS slots, avg(latency_s) AS latency_s FROM workers
        WHERE last_seen > now() - make_interval(secs => :seen) GROUP BY model
    ) w ON w.model = m.model
""")

LOOKED_AT: Final = 20_000
"""The newest jobs, among which answers of cascades are looked for."""
REJECTED: Final = text("""
    SELECT a.model, count(*) FILTER (WHERE a.outcome = 'rejected')::float8 / count(*) AS share
    FROM (
        SELECT id FROM jobs WHERE id > (SELECT max(id) FROM jobs) - :among AND state >= 10
            AND (cascade IS NOT NULL OR earlier_attempts > 0)
    ) j JOIN attempts a ON a.job_id = j.id AND a.outcome IN ('succeeded', 'rejected')
    GROUP BY a.model
""")


@dataclass(frozen=True, slots=True)
class Gauge:
    """Where one model stands now."""

    model: str
    queued: int
    dispatches: int
    """That have not ended."""
    workers: int
    slots: int
    oldest_s: float
    """How long ago the oldest queued job, or the batch it belongs to, was accepted; 0 where none is queued."""
    outstanding: int
    """Jobs of the dispatches that have not ended."""
    latency_s: float | None
    """Of one request, as the live workers measured it; None where none of them has yet."""

    def work_s(self, model: Model) -> float:
        """The seconds in which one worker would end all that is queued or on its way, by measured time and slots.

        The fleet's own figures stand in where there is no worker, so that a model which is scaled to nothing is woken.
        It does not fall as workers are added: divided by the seconds that one may have, it is the number of them wanted.
        """
        latency_s = model.expected_latency_s if self.latency_s is None else self.latency_s
        slots = self.slots / self.workers if self.workers else model.slots * (1 - model.reserve)
        return (self.queued + self.outstanding) * latency_s / max(1.0, slots)


def gauges(session: Session, models: Sequence[str], seen_s: float) -> list[Gauge]:
    """The figures of some models."""
    rows = session.execute(GAUGES, {"models": list(models), "seen": seen_s, "counted": COUNTED})
    return [
        Gauge(
            row.model, max(row.queued, row.queued_of_all) if row.queued >= COUNTED else row.queued, row.dispatches,
            row.workers, int(row.slots), max(0.0, row.oldest_s), int(row.outstanding), row.latency_s,
        )
        for row in rows
    ]  # fmt: skip


def rejected_shares(session: Session) -> dict[str, float]:
    """By model, the share of its answers in cascades that was not accepted, among the newest jobs: 0 to 1."""
    return {row.model: row.share for row in session.execute(REJECTED, {"among": LOOKED_AT})}
