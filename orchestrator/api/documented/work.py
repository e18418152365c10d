"""Answers about files, batches, jobs and models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.api.documented.shapes import (
    BatchId,
    Count,
    FileId,
    JobId,
    Listed,
    Page,
    ReviewId,
    Stamp,
    Tier,
    Told,
    Usd,
)  # fmt: skip

STATUSES = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
STATES = Literal["queued", "assigned", "waiting", "gathering", "succeeded", "failed", "cancelled", "expired"]


class File(Told):
    """An uploaded file, or one that a batch wrote."""

    id: FileId
    object: Literal["file"]
    bytes: Count
    created_at: Stamp
    expires_at: Stamp | None
    filename: str
    purpose: Literal["batch", "user_data", "batch_output"]
    status: Literal["processed"]
    status_details: None


class FilePage(Page):
    """Files."""

    data: list[File]


class Feedback(Told):
    """What was said of a job's answer."""

    object: Literal["feedback"]
    job: JobId
    good: bool
    label: str | None


class DeletedFile(Told):
    """A file that is gone."""

    id: FileId
    object: Literal["file"]
    deleted: Literal[True]


class RequestCounts(Told):
    """How many rows there are, and what became of them so far."""

    total: Count
    completed: Count
    failed: Count


class InputDetails(Told):
    """Input tokens apart."""

    cached_tokens: Count


class OutputDetails(Told):
    """Output tokens apart."""

    reasoning_tokens: Count


class BatchUsage(Told):
    """Tokens of all rows so far."""

    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class BatchError(Told):
    """Why a row kept the batch from running."""

    code: str
    line: int | None
    """Of the input file, from 1."""
    message: str
    param: str | None


class BatchErrors(Listed):
    """What validation found."""

    data: list[BatchError]


class TierProgress(Told):
    """Rows of one tier."""

    planned: Count
    completed: Count
    failed: Count
    cost_usd: Usd


class Paused(Told):
    """Why nothing of a batch is begun just now."""

    reason: str
    since: Stamp | None
    remedy: str


class BatchNote(Told):
    """What we say of a batch beyond OpenAI's object."""

    tiers: dict[str, TierProgress]
    states: dict[str, Count]
    """How many rows ended in which state."""
    cost_usd: Usd
    estimate_usd: Usd
    max_cost_usd: Usd | None
    paused: Paused | None
    retry_of: BatchId | None
    merged_output_file_id: FileId | None
    task: str | None
    task_version: Count | None
    """Of a batch of documents."""


class Batch(Told):
    """A batch: every field is there in every status."""

    id: BatchId
    object: Literal["batch"]
    endpoint: str
    model: str | None
    """The one that served it, where one alone did."""
    errors: BatchErrors | None
    input_file_id: FileId
    completion_window: str
    status: STATUSES
    output_file_id: FileId | None
    error_file_id: FileId | None
    created_at: Stamp
    in_progress_at: Stamp | None
    expires_at: Stamp
    finalizing_at: Stamp | None
    completed_at: Stamp | None
    failed_at: Stamp | None
    expired_at: Stamp | None
    cancelling_at: Stamp | None
    cancelled_at: Stamp | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    rightsize: BatchNote


class Progress(Told):
    """Where a batch stands."""

    batch_id: BatchId
    status: STATUSES
    request_counts: RequestCounts
    tiers: dict[str, TierProgress]
    cost_usd: Usd
    left_s: float | None
    """About how long it still takes; null where that cannot be said yet."""
    paused: Paused | None


class BatchPage(Page):
    """Batches."""

    data: list[Batch]


class TokenRange(Told):
    """A figure with the interval that is likely to hold it."""

    expected: Count
    low: Count
    high: Count


class UsdRange(Told):
    """A sum with the interval that is likely to hold it."""

    expected: Usd
    low: Usd
    high: Usd


class SecondsRange(Told):
    """A duration with the interval that is likely to hold it."""

    expected: float
    low: float
    high: float


class Figures(Told):
    """What some rows would cost, use and take."""

    jobs: Count
    expected_failures: float
    input_tokens: TokenRange
    output_tokens: TokenRange
    cost_usd: UsdRange
    at_most_usd: Usd
    seconds: SecondsRange


class Ground(Told):
    """On what the figures of some of the rows rest."""

    tier: Tier
    model: str
    task: str | None
    jobs: Count
    basis: str
    seen_jobs: Count
    seen_groups: Count


class Estimate(Told):
    """What a batch would cost, use and take; nothing was run."""

    object: Literal["estimate"]
    rows: Count
    invalid_rows: Count
    completion_window: str
    late: str | None
    """What is to be said where it may not end within its window."""
    interval: float
    input_tokens_by: str
    basis: list[Ground]
    total: Figures
    tiers: dict[str, Figures]
    alternatives: dict[str, Figures]
    """Of the rows that each tier could serve."""


class Cause(Told):
    """Why something failed."""

    code: str
    message: str | None


class JobUsage(Told):
    """What an attempt read and wrote."""

    input_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    reasoning_tokens: Count
    images: Count
    audio_seconds: str


class Attempt(Told):
    """One run of a job, with both of its costs."""

    attempt: int
    outcome: str
    tier: Tier
    model: str
    model_revision: str
    simulated: bool
    engine_s: float
    created_at: Stamp
    marginal_usd: Usd
    """By the rate card."""
    allocated_usd: Usd | None
    """Its share of the machine's time, once that is known."""
    usage: JobUsage
    error: Cause | None


class Transfer(Told):
    """One entry of the ledger."""

    attempt: int
    kind: Literal["charge", "rejected", "cost"]
    """`rejected` is the charge of an answer that was not accepted, and of which another model took over."""
    tier: Tier
    model: str
    amount_usd: Usd
    borne_by: Literal["caller", "house"]
    price_version: int


class JobRoute(Told):
    """Where a job was sent, and why."""

    tier: Tier
    model: str
    rule: str
    reasons: list[str]
    features: dict[str, Any]


class JobNote(Told):
    """What people said of a job's answer."""

    result_version: Annotated[int, Field(ge=1)] | None
    """1 as the model gave it, more where a person corrected it; null where there is no result."""
    reviewed: bool
    review_id: ReviewId | None
    """Of the list of answers about documents that people should look at."""
    forgotten: bool
    """Whether the document was forgotten: nothing is stored of it and of its answer."""


class Job(Told):
    """One request under our care, and everything that became of it."""

    id: JobId
    object: Literal["job"]
    state: STATES
    endpoint: str
    batch_id: BatchId | None
    custom_id: str | None
    task: str | None
    created_at: Stamp
    ended_at: Stamp | None
    expires_at: Stamp
    route: JobRoute
    attempts: list[Attempt]
    charges: list[Transfer]
    costs: list[Transfer]
    cost_usd: Usd
    result: dict[str, Any] | None
    """The model's own answer, or what a person made of it."""
    error: Cause | None
    rightsize: JobNote


class Model(Told):
    """A name that `model` may have: auto, a tier, or a model."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    rightsize: dict[str, Any]


class Models(Listed):
    """Every name that `model` may have."""

    data: list[Model] = Field(min_length=1)


class Refusal(Told):
    """Work that came as a Celery message and was refused."""

    id: int
    object: Literal["refusal"]
    task_id: str | None
    code: str
    message: str
    created_at: Stamp
    request_bytes: Count | None


class RefusedRequest(Refusal):
    """A refusal with its request: JSON, or of a large one the beginning as text."""

    request: Any


class Refusals(Listed):
    """Refusals, the newest first."""

    data: list[Refusal]
    has_more: bool
