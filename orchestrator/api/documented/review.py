"""Answers about reviews of answers, and about documents that were forgotten."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.api.documented.shapes import Count, FileId, JobId, Page, ReviewId, Stamp, Told

Decided = Literal["corrected", "confirmed", "dropped"]


class ReviewedField(Told):
    """A field at which people should look."""

    value: Any
    reasons: list[str]
    """`not_in_source`, `conflict` or `low_confidence`."""
    confidence: float | None
    page: int | None
    box: list[float] | None


class OfDocument(Told):
    """The document of a review."""

    name: str
    hash: str


class Review(Told):
    """An answer about a document at which people should look."""

    id: ReviewId
    object: Literal["review"]
    state: Literal["open"] | Decided
    task: str
    task_version: Count
    job_id: JobId
    document: OfDocument
    fields: dict[str, ReviewedField]
    """By JSON pointer."""
    created_at: Stamp
    decided_at: Stamp | None
    decided_by: str | None
    """The id of the key."""


class ReviewWithAnswer(Review):
    """A review with the answer as it stands now."""

    answer: Any
    """Null where its retention has ended."""
    result_version: Annotated[int, Field(ge=1)] | None


class Reviews(Page):
    """Reviews, the oldest first."""

    data: list[Review]


class ReviewedResult(Told):
    """A result of a batch that a person corrected or confirmed."""

    id: JobId
    object: Literal["reviewed_result"]
    custom_id: str | None
    state: Decided
    result_version: Annotated[int, Field(ge=1)]
    body: dict[str, Any] | None
    """What the line of the output file holds now; null where it holds what it held."""


class ReviewedResults(Page):
    """Results that people corrected or confirmed."""

    data: list[ReviewedResult]


class Taken(Told):
    """How much was taken of a document."""

    jobs: Count
    cancelled: Count
    """Of those, that had not ended."""
    requests: Count
    results: Count
    versions: Count
    reviews: Count
    attempts: Count
    blobs: Count
    lines: Count
    """Of files."""


class ForgottenDocument(Told):
    """A document of which nothing is stored any more."""

    object: Literal["forgotten_document"]
    hash: str
    taken: Taken
    files: list[FileId]
    """From which lines of it were taken."""
