"""What runs: dispatches, workers, attempts, and the time of machines."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Double, Numeric, SmallInteger
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Busy, Key, Usd, Weight, When


class Dispatch(Base):
    """A group of jobs for one model, with its message and its lease."""

    __tablename__ = "dispatches"
    id: Mapped[Key]
    tier: Mapped[str]
    model: Mapped[str]
    interactive: Mapped[bool]
    alone: Mapped[bool]
    """Holds suspects: a worker runs only one such dispatch at a time."""
    one_by_one: Mapped[bool]
    """Its jobs run one after the other, each recorded before the next begins."""
    job_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    size: Mapped[int]
    created_at: Mapped[When]
    publishes: Mapped[int]
    claim_by: Mapped[When]
    worker_id: Mapped[UUID | None]
    claimed_at: Mapped[When | None]
    lease_until: Mapped[When | None]
    ended_at: Mapped[When | None]
    ending: Mapped[str | None]


class Worker(Base):
    """One model that a live worker process serves."""

    __tablename__ = "workers"
    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    tier: Mapped[str]
    slots: Mapped[int]
    latency_s: Mapped[float | None] = mapped_column(Double)
    host: Mapped[str]
    pid: Mapped[int]
    fleet_version: Mapped[int]
    started_at: Mapped[When]
    last_seen: Mapped[When]


class Attempt(Base):
    """One run of one job, with everything that right-sizing needs to learn from it."""

    __tablename__ = "attempts"
    job_id: Mapped[Key]
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    dispatch_id: Mapped[Big]
    outcome: Mapped[str]
    tier: Mapped[str]
    model: Mapped[str]
    model_revision: Mapped[str]
    price_version: Mapped[int]
    policy_version: Mapped[int]
    fleet_version: Mapped[int]
    propensity: Mapped[float] = mapped_column(REAL)
    """The probability with which its route was sampled; 1 for a deterministic one."""
    simulated: Mapped[bool]
    fault_code: Mapped[str | None]
    fault_message: Mapped[str | None]
    engine_s: Mapped[float] = mapped_column(REAL)
    input_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    output_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    images: Mapped[int]
    audio_seconds: Mapped[Decimal] = mapped_column(Numeric(12, 3))
    interval_id: Mapped[Big | None]
    detail: Mapped[str | None]
    """Of an answer that was not accepted: what it said, and what is wrong with it, as JSON."""
    """The interval of a machine priced by the hour in which it was recorded."""
    created_at: Mapped[When]


class MachineInterval(Base):
    """A span of the time of a machine that is priced by the hour: one model of one worker process. Never changed once closed."""

    __tablename__ = "machine_intervals"
    id: Mapped[Key]
    worker_id: Mapped[UUID]
    model: Mapped[str]
    number: Mapped[int]
    """From 1, in the order of a worker's time."""
    kind: Mapped[str]
    """`loading`, `serving` or `draining`."""
    tier: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    price_version: Mapped[int]
    usd_per_hour: Mapped[Usd]
    carried: Mapped[Decimal] = mapped_column(Numeric)
    """What this worker's time came to before it, exact: US dollars an hour, times seconds."""
    prefill_weight: Mapped[Weight]
    cached_weight: Mapped[Weight]
    decode_weight: Mapped[Weight]
    busy_from_s: Mapped[Busy]
    busy_to_s: Mapped[Busy]
    """Readings of the worker's own clock: how long it had been busy at the beginning, and when it was last heard of."""
    started_at: Mapped[When]
    last_seen: Mapped[When]
    ended_at: Mapped[When | None]
    """From then on no attempt joins it."""
    closed_at: Mapped[When | None]
    """From then on its bill is booked, and what follows is set."""
    bill_usd: Mapped[Usd | None]
    jobs_usd: Mapped[Usd | None]
    idle_usd: Mapped[Usd | None]
    attempts: Mapped[int | None]
    prefill_tokens: Mapped[Big | None]
    cached_tokens: Mapped[Big | None]
    decode_tokens: Mapped[Big | None]
