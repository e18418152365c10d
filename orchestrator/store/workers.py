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
