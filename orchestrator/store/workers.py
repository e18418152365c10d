"""Live workers: which model each serves, with how many slots."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

SEEN: Final = text("""
    INSERT INTO workers (worker_id, model, tier, slots, latency_s, host, pid, fleet_version)
    VALUES (:worker, :model, :tier, :slots, :latency, :host, :pid, :fleet)
    ON CONFLICT (worker_id, model) DO UPDATE
    SET last_seen = now(), slots = excluded.slots, latency_s = excluded.latency_s, fleet_version = excluded.fleet_version
""")
GONE: Final = text("DELETE FROM workers WHERE worker_id = :worker")
FORGET: Final = text("DELETE FROM workers WHERE last_seen < now() - interval '1 hour'")
LIVE: Final = text("""
    SELECT model, tier, count(*) AS workers, sum(slots) AS slots, max(last_seen) AS last_seen FROM workers
    WHERE last_seen > now() - make_interval(secs => :seen) GROUP BY model, tier ORDER BY tier, model
""")

# `queued` hops from model to model over the indexes, and looks at no more than the first thousand jobs of each.
STRANDED: Final = text("""
    WITH RECURSIVE queued AS (
        SELECT '' AS model
        UNION ALL
        SELECT least(
            (SELECT min(j.model) FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model > q.model),
            (SELECT min(j.model) FROM jobs j WHERE j.state = 1 AND j.requeued AND j.model > q.model)
        ) FROM queued q WHERE q.model IS NOT NULL
    )
    SELECT q.model, extract(epoch FROM now() - oldest.since)::float8 AS waited_s
    FROM queued q CROSS JOIN LATERAL (
        SELECT least(
            (SELECT min(s.created_at) FROM (
                SELECT j.created_at FROM jobs j WHERE j.state = 1 AND NOT j.requeued AND j.model = q.model LIMIT 1000
            ) s),
            (SELECT min(s.created_at) FROM (
                SELECT j.created_at FROM jobs j WHERE j.state = 1 AND j.requeued AND j.model = q.model LIMIT 1000
            ) s)
        ) AS since
    ) oldest
    WHERE q.model <> '' AND oldest.since < now() - make_interval(secs => :waited) AND NOT EXISTS (
        SELECT 1 FROM workers w WHERE w.model = q.model AND w.last_seen > now() - make_interval(secs => :seen)
    )
    ORDER BY q.model
""")


@dataclass(frozen=True, slots=True)
class Presence:
    """One model that a worker serves now."""

    model: str
    tier: str
    slots: int
    latency_s: float | None


def seen(session: Session, worker: UUID, presence: Sequence[Presence], fleet_version: int) -> None:
    """Say that a worker is alive and what it serves."""
    for one in presence:
        session.execute(
            SEEN,
            {
                "worker": worker, "model": one.model, "tier": one.tier, "slots": one.slots, "latency": one.latency_s,
                "host": socket.gethostname(), "pid": os.getpid(), "fleet": fleet_version,
            },
        )  # fmt: skip


def gone(session: Session, worker: UUID) -> None:
    """Forget a worker that left in order."""
    session.execute(GONE, {"worker": worker})


def forget_old(session: Session) -> None:
    """Forget workers that were not seen for an hour."""
    session.execute(FORGET)


def live(session: Session, seen_s: float) -> Sequence[Row[Any]]:
    """Live workers and slots by model."""
    return session.execute(LIVE, {"seen": seen_s}).all()


def stranded(session: Session, seen_s: float, waited_s: float) -> list[tuple[str, float]]:
    """Models that no live worker serves though jobs have been queued for them that long, and the seconds they waited."""
    return [(row.model, row.waited_s) for row in session.execute(STRANDED, {"seen": seen_s, "waited": waited_s})]
