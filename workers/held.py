"""What a worker holds: the dispatches that run here, and by their public ids the jobs that are part of no batch."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from orchestrator.contracts import ClaimedJob, Fence
from orchestrator.flow.claim import Claimed
from orchestrator.flow.lease import Beat
from orchestrator.telemetry import log
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


class Held:
    """The dispatches that run here, as the heartbeat sees them. What others have ended is stopped, on the worker's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[int, Running] = {}
        self._lock = threading.Lock()
        self.singles = Singles()

    def add(self, runs: Iterable[Running]) -> None:
        """Note that dispatches run here."""
        with self._lock:
            self._running.update({one.open.dispatch_id: one for one in runs})

    def remove(self, dispatch_id: int) -> None:
        """Note that a dispatch runs here no more."""
        with self._lock:
            self._running.pop(dispatch_id, None)

    def jobs(self) -> dict[int, list[int]]:
        """The dispatches, each with its jobs that still run here."""
        with self._lock:
            return {dispatch_id: list(running.tasks) for dispatch_id, running in self._running.items()}

    def batches(self) -> set[int]:
        """The batches whose jobs run here."""
        return {job.batch_id for job in self._jobs_here()} - {0}

    def _jobs_here(self) -> list[ClaimedJob]:
        with self._lock:
            return [job for one in self._running.values() for job in one.claimed.jobs if job.id in one.tasks]

    def on_beat(self, beat: Beat, asked: Mapping[int, Sequence[int]]) -> None:
        """Stop what is not ours to run any more: cancelled jobs, and dispatches whose lease was lost."""
        lost = asked.keys() - beat.held
        if lost:
            log("lease_lost", logging.WARNING, dispatches=sorted(lost))
        with self._lock:
            for dispatch_id in lost & self._running.keys():
                self._running[dispatch_id].open.lost = True
        for dispatch_id, jobs in asked.items():
            gone = set(jobs) if dispatch_id in lost else beat.gone_jobs.intersection(jobs)
            if gone:
                self._loop.call_soon_threadsafe(self.call_off, dispatch_id, gone)

    def on_ended(self, batches: Set[int]) -> None:
        """Stop what runs of batches that were cancelled or have ended."""
        gone: dict[int, set[int]] = {}
        for job in self._jobs_here():
            if job.batch_id in batches:
                gone.setdefault(job.dispatch_id, set()).add(job.id)
        for dispatch_id, jobs in gone.items():
            self._loop.call_soon_threadsafe(self.call_off, dispatch_id, jobs)

    def on_gone(self, jobs: Sequence[Fence]) -> None:
        """Stop jobs, each with its dispatch, that are not to be run any more."""
        for job_id, dispatch_id in jobs:
            self._loop.call_soon_threadsafe(self.call_off, dispatch_id, [job_id])

    def call_off(self, dispatch_id: int, jobs: Iterable[int]) -> None:
        """Drop jobs that others have ended or have now; on the loop."""
        running = self._running.get(dispatch_id)
        if running is not None:
            running.called_off.update(jobs)
            _interrupt(running, jobs)

    def interrupt_all(self) -> None:
        """Break off all that runs, so that it is given back; from any thread."""
        with self._lock:
            held = list(self._running.values())
        for running in held:
            self._loop.call_soon_threadsafe(_interrupt, running, list(running.tasks))


def _interrupt(running: Running, jobs: Iterable[int]) -> None:
    for job_id in jobs:
        task = running.tasks.get(job_id)
        if task is not None:
            task.cancel()
