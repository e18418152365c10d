"""What a worker holds: the dispatches that run here, and by their public ids the jobs that are part of no batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from orchestrator.contracts import ClaimedJob, Fence
from orchestrator.flow.claim import Claimed
from workers.recording import Open
from workers.streaming import Pieces


@dataclass(slots=True)
class Running:
    """One dispatch that runs here."""

    claimed: Claimed
    open: Open
    claimed_at: float
    """On the monotonic clock."""
    turn: asyncio.Semaphore | None
    """Of suspects: each is recorded before the next begins, so that a loss tells which one ran."""
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """Unfinished jobs."""
    called_off: set[int] = field(default_factory=set)
    given_back: list[ClaimedJob] = field(default_factory=list)
    suspects: list[ClaimedJob] = field(default_factory=list)
    """Jobs that were in an engine when it died."""
    dropped: int = 0
    """Jobs that were called off: whoever did that has ended them, or does so."""


@dataclass(frozen=True, slots=True)
class Single:
    """A job outside any batch that runs here."""

    job: ClaimedJob
    pieces: Pieces | None
    """Of its answer, where a caller waits for it."""


class Singles:
    """All of them. Changed on the worker's loop alone."""

    def __init__(self) -> None:
        self._by_id: dict[str, Single] = {}

    def begin(self, job: ClaimedJob, pieces: Pieces | None) -> None:
        """Note that a job runs, if it is part of no batch."""
        if not job.batch_id:
            self._by_id[job.public_id] = Single(job, pieces)

    def end(self, job: ClaimedJob) -> None:
        """Note that it runs no more; the same job under a later dispatch stays."""
        found = self._by_id.get(job.public_id)
        if found is not None and found.job is job:
            del self._by_id[job.public_id]

    def named(self, public_id: str) -> Single | None:
        """The job of that name, if it runs here."""
        return self._by_id.get(public_id)

    def fences(self) -> list[Fence]:
        """Each with its dispatch; from any thread."""
        return [one.job.fence for one in list(self._by_id.values())]
