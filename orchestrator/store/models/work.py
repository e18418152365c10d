"""What is handed in, and what came of it: files, tasks, batches, jobs and their bodies."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.store.models.base import Base, Big, Key, Small, Usd, When


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
    deleted_at: Mapped[When | None]
    """From then on only batches that named it know it."""


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
    definition: Mapped[dict[str, Any] | None]
    """What the task is; None for a version that only brought a specialist."""
    digest: Mapped[str | None]
    based_on: Mapped[str | None]
    """The digest of the task whose parameters this one has in their places."""


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
    paused_at: Mapped[When | None]
    """From then on nothing of it is assigned, until its owner resumes it."""
    held_back: Mapped[str | None]
    """Why nothing of it can be assigned just now: `budget_exhausted`."""
    retry_of: Mapped[Big | None]
    """The batch whose failed rows it runs again."""
    merged_file_id: Mapped[Big | None]
    """Its output and that of the batch it retries, one line for each custom_id."""
    output_expires_s: Mapped[int | None]


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
    """What it queues with: its batch's id, or minus its project's id for singles."""
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
    """What is held for it now: of a batch's job what it is expected to cost, and once it is assigned the most."""
    worst_usd: Mapped[Usd | None]
    """The most that it may be charged; None for jobs of before."""
    tier: Mapped[str]
    model: Mapped[str]
    endpoint: Mapped[str]
    rule: Mapped[str]
    task: Mapped[str | None]
    custom_id: Mapped[str | None]
    fault_code: Mapped[str | None]
    fault_message: Mapped[str | None]
    cascade: Mapped[str | None]
    """Models that take over, in this order and with blanks between them, where an answer is not accepted."""
    document_hash: Mapped[bytes | None]
    """SHA-256 of the document that it is about."""
    reuse_key: Mapped[bytes | None]
    """What its result is found by again: the document, the task's version, how it was routed, and the engine's parameters."""
    reused_job_id: Mapped[Big | None]
    """The job whose result it took over: it never ran itself."""
    pieces: Mapped[int]
    """How many pieces a document is asked in; 0 for one that is asked whole, and for anything else."""
    level: Mapped[Small]
    """Of a piece 1, of what makes one answer of several 2 and so on; of a document, the level that is asked now."""
    earlier_attempts: Mapped[Small]
    """Those that earlier models of its cascade took: each model may be tried as often as any."""
    forgotten_at: Mapped[When | None]
    """From then on nothing is stored of what it was about, and what was answered."""
    unbilled: Mapped[bool]
    """Whether it is for us alone, as an audit is: its cost is ours, and nobody is charged."""


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


class Refusal(Base):
    """Work that came as a Celery message and was refused, with the reason."""

    __tablename__ = "refusals"
    id: Mapped[Key]
    tenant_id: Mapped[Big | None]
    """None where no key told whose it is."""
    task_id: Mapped[str]
    code: Mapped[str]
    message: Mapped[str]
    request: Mapped[bytes | None]
    created_at: Mapped[When]
