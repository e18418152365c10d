"""The heartbeat, on a thread and a connection of its own: it renews leases and learns what was cancelled.

Between two beats it only looks, once a second, whether a batch or a single job that runs here was called off: an engine does not go
on for as long as a lease lasts with what nobody wants any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence, Set
from typing import Final, Protocol
from uuid import UUID

from orchestrator import pulse
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import lease
from orchestrator.flow.context import Context
from orchestrator.flow.lease import Beat
from orchestrator.store.workers import Presence
from orchestrator.telemetry import log, log_fault

LOOK_S: Final = 1.0


class Work(Protocol):
    """What a worker runs, as its heartbeat sees it."""

    def presence(self) -> Sequence[Presence]:
        """The models that it serves now."""
        ...

    def held(self) -> Mapping[int, Sequence[int]]:
        """Its dispatches, each with the jobs that still run."""
        ...

    def batches(self) -> Set[int]:
        """The batches whose jobs run."""
        ...

    def singles(self) -> Sequence[tuple[int, int]]:
        """The jobs outside batches that run, each with its dispatch."""
        ...

    def on_beat(self, beat: Beat, asked: Mapping[int, Sequence[int]]) -> None:
        """Take in what a beat found of the dispatches that it asked for."""
        ...

    def on_ended(self, batches: Set[int]) -> None:
        """Take in that batches have ended."""
        ...

    def on_gone(self, jobs: Sequence[tuple[int, int]]) -> None:
        """Take in that jobs, each with its dispatch, are not to be run any more."""
        ...


class Heartbeat(threading.Thread):
    """Beats until stopped; a database that is away is tried again every second."""

    def __init__(self, context: Context, worker: UUID, work: Work) -> None:
        super().__init__(name="rightsize-heartbeat", daemon=True)
        self._context, self._worker, self._work = context, worker, work
        self._ending = threading.Event()

    def beat_once(self) -> None:
        """Renew now; raises ServiceUnavailable when the database does not answer."""
        held = self._work.held()
        running = [(job, dispatch) for dispatch, jobs in held.items() for job in jobs]
        self._work.on_beat(lease.beat(self._context, self._worker, self._work.presence(), list(held), running), held)
        pulse.beat(self._context.settings)

    def look_once(self) -> None:
        """See what of all that runs here was ended by others, by a cancel or otherwise; raises ServiceUnavailable."""
        running = self._work.batches()
        if running and (ended := lease.ended_batches(self._context, running)):
            self._work.on_ended(ended)
        singles = self._work.singles()
        if singles and (gone := lease.gone_jobs(self._context, singles)):
            self._work.on_gone([(job, dispatch) for job, dispatch in singles if job in gone])

    def run(self) -> None:
        """Beat at the pace of the settings, and look in between."""
        beat_s = self._context.settings.heartbeat_s
        due = time.monotonic()
        while not self._ending.wait(max(0.0, min(LOOK_S, due - time.monotonic()))):
            try:
                if time.monotonic() < due:
                    self.look_once()
                    continue
                due = time.monotonic() + min(LOOK_S, beat_s)  # so soon again, should this one fail
                self.beat_once()
                due = time.monotonic() + beat_s
            except ServiceUnavailable as error:
                log("database_away", logging.WARNING, detail=error.message)
            except Exception as error:
                log_fault("pass_failed", error)

    def stop(self) -> None:
        """End after the beat that is under way."""
        self._ending.set()
