"""What may follow what. Nothing else in the project knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.contracts import TERMINAL, BatchStatus, JobState, OutcomeKind

QUEUED, ASSIGNED, WAITING, GATHERING = JobState.QUEUED, JobState.ASSIGNED, JobState.WAITING, JobState.GATHERING
SUCCEEDED, FAILED, CANCELLED, EXPIRED = (
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.EXPIRED,
)

NEXT: Final[Mapping[JobState, frozenset[JobState]]] = {
    QUEUED: frozenset({ASSIGNED, CANCELLED, EXPIRED}),
    # QUEUED again: given back, lost, or escalated to the next tier.
    ASSIGNED: frozenset({QUEUED, WAITING, SUCCEEDED, FAILED, CANCELLED, EXPIRED}),
    WAITING: frozenset({QUEUED, CANCELLED, EXPIRED}),
    # QUEUED where a model makes one answer of those to its pieces.
    GATHERING: frozenset({QUEUED, SUCCEEDED, FAILED, CANCELLED, EXPIRED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
    EXPIRED: frozenset(),
}

BORN: Final = frozenset({QUEUED, ASSIGNED, GATHERING, FAILED, SUCCEEDED})
"""The states a job may begin in: ASSIGNED for an interactive one, GATHERING for a document in pieces, FAILED for a row that could not be read, SUCCEEDED for one whose
result was there already."""

BATCH_NEXT: Final[Mapping[BatchStatus, frozenset[BatchStatus]]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING}),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING}),
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.EXPIRED}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.EXPIRED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the retries of a job."""

    max_attempts: int = 4
    base_delay_s: float = 1.0
    max_delay_s: float = 120.0


def after(kind: OutcomeKind, attempt: int, limits: Limits) -> JobState:
    """The state of an assigned job after an attempt of it came to `kind`.

    `attempt` is the number of the attempt that just ended, from 1. A retry past the last attempt is a failure.
    """
    if kind is OutcomeKind.RETRY:
        return WAITING if attempt < limits.max_attempts else FAILED
    return _AFTER[kind]


_AFTER: Final[Mapping[OutcomeKind, JobState]] = {
    OutcomeKind.SUCCEEDED: SUCCEEDED,
    OutcomeKind.FAILED: FAILED,
    OutcomeKind.REJECTED: QUEUED,
    OutcomeKind.EXPIRED: EXPIRED,
}


def after_loss(attempt: int, limits: Limits) -> JobState:
    """The state of a job that ran alone when its dispatch's lease ended: the one loss that counts as an attempt.

    `attempt` is the number of the attempt that was lost, from 1. A job that was not alone is queued again uncounted, so
    that a poison job cannot spend its neighbours' attempts.
    """
    return QUEUED if attempt < limits.max_attempts else FAILED


def retry_delay_s(attempt: int, limits: Limits, jitter: float, asked_s: float | None = None) -> float:
    """Seconds until the next attempt: exponential from the base, at most the maximum, never sooner than asked for.

    `jitter` in [0, 1) spreads the delay over its upper half, so that jobs that failed together do not return together.
    """
    full: float = min(limits.max_delay_s, limits.base_delay_s * 2 ** (attempt - 1))
    delay = full * (0.5 + 0.5 * jitter)
    return max(delay, asked_s or 0.0)


def is_terminal(state: JobState) -> bool:
    """Whether nothing can follow."""
    return state in TERMINAL
