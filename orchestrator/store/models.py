"""The tables as SQLAlchemy models: columns only. Indexes, partitions, roles and grants live in `migrations/`.

A test holds these against the migrated schema, so that the two cannot part. Queries are in the modules beside this one.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, DateTime, Double, Integer, Numeric, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB, REAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Big = Annotated[int, mapped_column(BigInteger)]
Small = Annotated[int, mapped_column(SmallInteger)]
Key = Annotated[int, mapped_column(BigInteger, primary_key=True)]
Usd = Annotated[Decimal, mapped_column(Numeric(20, 12))]
Weight = Annotated[Decimal, mapped_column(Numeric(12, 6))]
Busy = Annotated[Decimal, mapped_column(Numeric(16, 6))]
When = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    """The declarative base; plain `str` columns are `text`."""

    type_annotation_map = {str: Text(), int: Integer(), dict[str, Any]: JSONB(), date: Date()}  # noqa: RUF012


class Tenant(Base):
    """A customer: sees and pays only its own."""

    __tablename__ = "tenants"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    name: Mapped[str]
    created_at: Mapped[When]


class Project(Base):
    """A part of a tenant with a budget of its own."""

    __tablename__ = "projects"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    name: Mapped[str]
    created_at: Mapped[When]


class ApiKey(Base):
    """A caller's key; only its SHA-256 is stored."""

    __tablename__ = "api_keys"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    name: Mapped[str]
    hash: Mapped[bytes]
    created_at: Mapped[When]
    revoked_at: Mapped[When | None]


class Budget(Base):
    """What a project may spend, what is held for accepted work, and what was charged."""

    __tablename__ = "budgets"
    project_id: Mapped[Key]
    tenant_id: Mapped[Big]
    limit_usd: Mapped[Usd | None]
    held_usd: Mapped[Usd]
    spent_usd: Mapped[Usd]


class IdempotencyKey(Base):
    """Which request a caller's key stood for, and what it made."""

    __tablename__ = "idempotency_keys"
    tenant_id: Mapped[Key]
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    target_id: Mapped[UUID]
    created_at: Mapped[When]


class ConfigVersion(Base):
    """An immutable version of the fleet, the policy or the prices."""

    __tablename__ = "config_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    digest: Mapped[str]
    content: Mapped[dict[str, Any]]
    created_at: Mapped[When]


class File(Base):
    """An input, output or error file: its bytes lie in the blob store."""

    __tablename__ = "files"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    api_key_id: Mapped[Big]
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[Big]
    blob_key: Mapped[str]
    created_at: Mapped[When]
    expires_at: Mapped[When | None]


class Task(Base):
    """A named kind of repetitive work, and the specialist trained for it if there is one."""

    __tablename__ = "tasks"
    id: Mapped[Key]
    tenant_id: Mapped[Big]
    name: Mapped[str]
    version: Mapped[int]
    instructions: Mapped[str | None]
    output_schema: Mapped[dict[str, Any] | None]
    specialist: Mapped[str | None]
    training: Mapped[dict[str, Any] | None]
    created_at: Mapped[When]


class Batch(Base):
    """Jobs submitted together. `final` freezes counts and usage when it ends."""

    __tablename__ = "batches"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    api_key_id: Mapped[Big]
    status: Mapped[str]
    endpoint: Mapped[str]
    completion_window: Mapped[str]
    input_file_id: Mapped[Big]
    output_file_id: Mapped[Big | None]
    error_file_id: Mapped[Big | None]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    hints: Mapped[dict[str, Any]]
    errors: Mapped[dict[str, Any] | None]
    total: Mapped[int]
    estimate_usd: Mapped[Usd]
    max_cost_usd: Mapped[Usd | None]
    final: Mapped[dict[str, Any] | None]
    deadline: Mapped[When]
    created_at: Mapped[When]
    in_progress_at: Mapped[When | None]
    finalizing_at: Mapped[When | None]
    completed_at: Mapped[When | None]
    failed_at: Mapped[When | None]
    expired_at: Mapped[When | None]
    cancelling_at: Mapped[When | None]
    cancelled_at: Mapped[When | None]


class BatchProgress(Base):
    """How many jobs of a batch ended in one flush: append-only, so that no counter row is hot."""

    __tablename__ = "batch_progress"
    id: Mapped[Key]
    batch_id: Mapped[Big]
    tier: Mapped[str]
    model: Mapped[str]
    state: Mapped[Small]
    jobs: Mapped[int]
    charge_usd: Mapped[Usd]
    input_tokens: Mapped[Big]
    cached_tokens: Mapped[Big]
    output_tokens: Mapped[Big]
    reasoning_tokens: Mapped[Big]


class Job(Base):
    """One request under our care. Updated about twice: assigned, ended."""

    __tablename__ = "jobs"
    id: Mapped[Key]
    public_id: Mapped[UUID]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    api_key_id: Mapped[Big]
    batch_id: Mapped[Big]
    lane: Mapped[Big]
    """What it queues with: its batch's id, or minus its tenant's id for singles."""
    dispatch_id: Mapped[Big | None]
    parent_job_id: Mapped[Big | None]
    prefix_hash: Mapped[Big]
    """Where it stands in its lane: see `order.run_order`."""
    deadline: Mapped[When]
    created_at: Mapped[When]
    assigned_at: Mapped[When | None]
    ended_at: Mapped[When | None]
    retry_at: Mapped[When | None]
    row_number: Mapped[int]
    fleet_version: Mapped[int]
    policy_version: Mapped[int]
    price_version: Mapped[int]
    task_version: Mapped[int | None]
    stored_on: Mapped[date]
    """The UTC day whose partition holds its request and its result."""
    state: Mapped[Small]
    attempts: Mapped[Small]
    interactive: Mapped[bool]
    requeued: Mapped[bool]
    """Queued again after a retry, a loss or an orderly stop; such jobs have an index of their own."""
    alone: Mapped[bool]
    """A suspect: a dispatch that it was in was lost, and it may be what ends workers."""
    losses: Mapped[Small]
    """How often that was while others ran beside it: once, and it runs in a small group; more often, and it runs by itself."""
    held_usd: Mapped[Usd]
    tier: Mapped[str]
    model: Mapped[str]
    endpoint: Mapped[str]
    rule: Mapped[str]
    task: Mapped[str | None]
    custom_id: Mapped[str | None]
    fault_code: Mapped[str | None]
    fault_message: Mapped[str | None]


class JobRequest(Base):
    """A job's body, and why it was routed as it was. Partitioned by day."""

    __tablename__ = "job_requests"
    job_id: Mapped[Key]
    stored_on: Mapped[date] = mapped_column(primary_key=True)
    body: Mapped[bytes | None]
    blob_key: Mapped[str | None]
    reasons: Mapped[str]
    features: Mapped[str]


class Result(Base):
    """The response body of a succeeded job. Partitioned by day."""

    __tablename__ = "results"
    job_id: Mapped[Key]
    stored_on: Mapped[date] = mapped_column(primary_key=True)
    attempt: Mapped[Small]
    body: Mapped[bytes | None]
    blob_key: Mapped[str | None]


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


class IdleTransfer(Base):
    """The part of an interval's bill that no job bears: one transfer of the ledger, never changed."""

    __tablename__ = "idle_transfers"
    interval_id: Mapped[Key]
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount_usd: Mapped[Usd]
    tier: Mapped[str]
    model: Mapped[str]
    price_version: Mapped[int]
    created_at: Mapped[When]


class Transfer(Base):
    """One transfer of the ledger: a debit and a credit of the same amount, never changed."""

    __tablename__ = "transfers"
    job_id: Mapped[Key]
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount_usd: Mapped[Usd]
    tenant_id: Mapped[Big]
    project_id: Mapped[Big]
    api_key_id: Mapped[Big]
    batch_id: Mapped[Big]
    tier: Mapped[str]
    model: Mapped[str]
    price_version: Mapped[int]
    created_at: Mapped[When]
