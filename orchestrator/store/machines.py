"""Intervals of machines that are priced by the hour: opened, seen and ended by their worker, closed by the orchestrator.

An attempt joins the interval that its worker has open, in the statement that moves its job (`recording.py`). That statement
holds the interval's row (KEY SHARE) until its flush commits, and an interval is ended under a full lock of the row: so no
attempt ever joins an interval that has ended, and whoever closes one sees all of its attempts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from orchestrator.machine_time import Books, Served, Span, Weights, usd_of_micro, usd_of_units
from orchestrator.store.session import copy_rows

# The first interval of a worker's model begins now, every other where the one before it ended: there are no gaps.
OPEN: Final = text("""
    INSERT INTO machine_intervals (worker_id, model, number, kind, tier, host, pid, price_version, usd_per_hour, carried,
        prefill_weight, cached_weight, decode_weight, busy_from_s, busy_to_s, started_at)
    SELECT :worker, :model, coalesce(last.number, 0) + 1, :kind, :tier, :host, :pid, :prices, :hour,
        coalesce(last.carried + last.usd_per_hour * extract(epoch FROM last.ended_at - last.started_at), 0),
        :prefill, :cached, :decode, coalesce(last.busy_to_s, 0), :busy, coalesce(last.ended_at, now())
    FROM (SELECT) one LEFT JOIN LATERAL (
        SELECT * FROM machine_intervals WHERE worker_id = :worker AND model = :model ORDER BY number DESC LIMIT 1
    ) last ON true
    WHERE last.id IS NULL OR last.ended_at IS NOT NULL
""")
SEEN: Final = text("""
    UPDATE machine_intervals m SET last_seen = greatest(now(), last_seen), busy_to_s = greatest(:busy, busy_to_s)
    WHERE worker_id = :worker AND model = :model AND ended_at IS NULL
    RETURNING kind, usd_per_hour, extract(epoch FROM now() - started_at)::float8 AS age_s,
        (busy_to_s - busy_from_s)::float8 AS busy_s,
        (SELECT count(*) FROM (SELECT FROM attempts a WHERE a.interval_id = m.id LIMIT :most) joined) AS attempts
""")
HOLD_OPEN: Final = text("""
    SELECT id FROM machine_intervals WHERE worker_id = :worker AND model = :model AND ended_at IS NULL FOR UPDATE
""")
END: Final = text("""
    UPDATE machine_intervals SET ended_at = greatest(now(), last_seen), last_seen = greatest(now(), last_seen),
        busy_to_s = greatest(:busy, busy_to_s)
    WHERE id = :id
""")
ABANDONED: Final = text("""
    SELECT id FROM machine_intervals WHERE ended_at IS NULL AND last_seen < now() - make_interval(secs => :lease)
    FOR UPDATE SKIP LOCKED
""")
END_ABANDONED: Final = text("UPDATE machine_intervals SET ended_at = last_seen WHERE id = ANY(CAST(:ids AS bigint[]))")
NEXT_ENDED: Final = text("""
    SELECT *, extract(epoch FROM ended_at - started_at) AS seconds FROM machine_intervals
    WHERE closed_at IS NULL AND ended_at IS NOT NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
""")
ATTEMPTS: Final = text("""
    SELECT a.job_id, a.attempt, a.input_tokens, a.cached_tokens, a.output_tokens, t.debit_account = 'cost:caller' AS by_caller,
        t.tenant_id, t.project_id, t.api_key_id, t.batch_id
    FROM attempts a JOIN transfers t ON t.job_id = a.job_id AND t.attempt = a.attempt AND t.kind = 'cost'
    WHERE a.interval_id = :id ORDER BY a.job_id, a.attempt
""")
ADD_IDLE: Final = text("""
    INSERT INTO idle_transfers (interval_id, debit_account, credit_account, amount_usd, tier, model, price_version)
    VALUES (:id, 'idle:house', :machine, :amount, :tier, :model, :prices)
""")
CLOSE: Final = text("""
    UPDATE machine_intervals SET closed_at = now(), bill_usd = :bill, jobs_usd = :jobs, idle_usd = :idle, attempts = :attempts,
        prefill_tokens = :prefill, cached_tokens = :cached, decode_tokens = :decode
    WHERE id = :id
""")
SHARE_COLUMNS: Final = (
    "job_id", "attempt", "kind", "debit_account", "credit_account", "amount_usd", "tenant_id", "project_id", "api_key_id",
    "batch_id", "tier", "model", "price_version",
)  # fmt: skip
USE: Final = text("""
    SELECT model, min(tier) AS tier, count(DISTINCT worker_id) AS workers,
        sum(seconds) FILTER (WHERE closed_at IS NOT NULL)::float8 AS seconds,
        sum(seconds) FILTER (WHERE closed_at IS NULL)::float8 AS unclosed_s,
        sum(busy_s) FILTER (WHERE closed_at IS NOT NULL)::float8 AS busy_s,
        sum(bill_usd) AS bill_usd, sum(jobs_usd) AS jobs_usd, sum(idle_usd) AS idle_usd,
        sum(bill_usd) FILTER (WHERE kind = 'loading') AS loading_usd, sum(bill_usd) FILTER (WHERE kind = 'draining') AS draining_usd,
        sum(bill_usd * busy_s / nullif(seconds, 0)) AS busy_usd, sum(attempts) AS attempts,
        sum(prefill_tokens) AS prefill_tokens, sum(cached_tokens) AS cached_tokens, sum(decode_tokens) AS decode_tokens
    FROM (
        SELECT i.*, least(i.busy_to_s - i.busy_from_s, s.seconds) AS busy_s, s.seconds
        FROM machine_intervals i
        CROSS JOIN LATERAL (SELECT extract(epoch FROM coalesce(i.ended_at, i.last_seen) - i.started_at) AS seconds) s
    ) spans
    GROUP BY model ORDER BY model
""")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a worker's meter shows of one model: its price now, how its time is shared, and how long it was busy so far."""

    model: str
    tier: str
    usd_per_hour: Decimal
    weights: Weights
    busy_s: Decimal
    """Since the process began to load the model."""


@dataclass(frozen=True, slots=True)
class Running:
    """An open interval as its worker sees it."""

    kind: str
    usd_per_hour: Decimal
    age_s: float
    busy_s: float
    attempts: int
    """Of those that are recorded in it; counted up to the most that were asked for."""


def open_next(session: Session, worker: UUID, reading: Reading, kind: str, price_version: int) -> None:
    """Begin the next interval of a worker's model, unless it has one open."""
    values = {
        "worker": worker, "model": reading.model, "kind": kind, "tier": reading.tier, "host": socket.gethostname(),
        "pid": os.getpid(), "prices": price_version, "hour": reading.usd_per_hour, "prefill": reading.weights.prefill,
        "cached": reading.weights.cached, "decode": reading.weights.decode, "busy": reading.busy_s,
    }  # fmt: skip
    session.execute(OPEN, values)


def seen(session: Session, worker: UUID, reading: Reading, most_attempts: int) -> Running | None:
    """Say that a worker's machine runs, and return its open interval; None if somebody else has ended it."""
    values = {"worker": worker, "model": reading.model, "busy": reading.busy_s, "most": most_attempts}
    row = session.execute(SEEN, values).one_or_none()
    return Running(*row) if row else None


def end_open(session: Session, worker: UUID, reading: Reading) -> None:
    """End the open interval of a worker's model, once the flushes that are under way in it have committed."""
    row = session.execute(HOLD_OPEN, {"worker": worker, "model": reading.model}).one_or_none()
    if row is not None:
        session.execute(END, {"id": row.id, "busy": reading.busy_s})


def end_abandoned(session: Session, lease_s: float) -> int:
    """End, at their last sign of life, the intervals of workers that were not heard of for so long; returns how many."""
    ids = list(session.execute(ABANDONED, {"lease": lease_s}).scalars())
    if ids:
        session.execute(END_ABANDONED, {"ids": ids})
    return len(ids)


def next_ended(session: Session) -> Row[Any] | None:
    """An interval that has ended and whose books are open, locked; None if there is none that nobody else closes just now."""
    return session.execute(NEXT_ENDED).one_or_none()


def span(interval: Row[Any]) -> tuple[Span, Weights]:
    """An ended interval as the pure part wants it."""
    weights = Weights(interval.prefill_weight, interval.cached_weight, interval.decode_weight)
    busy_s = interval.busy_to_s - interval.busy_from_s
    return Span(interval.usd_per_hour, interval.carried, interval.seconds, busy_s), weights


def attempts(session: Session, interval_id: int) -> Sequence[Row[Any]]:
    """The attempts that were recorded in an interval, with whose they are."""
    return session.execute(ATTEMPTS, {"id": interval_id}).all()


def served(attempt: Row[Any]) -> Served:
    """An attempt's tokens."""
    return Served(attempt.input_tokens, attempt.cached_tokens, attempt.output_tokens)


def close(session: Session, interval: Row[Any], found: Sequence[Row[Any]], books: Books) -> None:
    """Book an interval: a transfer for each attempt that bears something, one for what is idle, and the sums on its row."""
    machine = f"machine:{interval.model}"
    tail = (interval.tier, interval.model, interval.price_version)
    rows = (
        (
            one.job_id, one.attempt, "machine", "machine-time:caller" if one.by_caller else "machine-time:house", machine,
            usd_of_units(units), one.tenant_id, one.project_id, one.api_key_id, one.batch_id, *tail,
        )
        for one, units in zip(found, books.shares_units, strict=True) if units
    )  # fmt: skip
    if books.used_micro:
        copy_rows(session, "transfers", SHARE_COLUMNS, rows)
    idle = usd_of_micro(books.idle_micro)
    session.execute(ADD_IDLE, {"id": interval.id, "machine": machine, "amount": idle, "tier": interval.tier,
                               "model": interval.model, "prices": interval.price_version})  # fmt: skip
    sums = {
        "id": interval.id, "bill": usd_of_micro(books.bill_micro), "jobs": usd_of_micro(books.used_micro), "idle": idle,
        "attempts": len(found), "prefill": sum(one.input_tokens - one.cached_tokens for one in found),
        "cached": sum(one.cached_tokens for one in found), "decode": sum(one.output_tokens for one in found),
    }  # fmt: skip
    session.execute(CLOSE, sums)


def use(session: Session) -> Sequence[Row[Any]]:
    """What each model's machines did and cost, over all intervals that are closed, and the time that is not closed yet."""
    return session.execute(USE).all()
