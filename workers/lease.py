"""The heartbeat, on a thread and a connection of its own: it renews leases and learns what was cancelled.

Between two beats it only looks, once a second, whether a batch or a single job that runs here was called off: an engine does not go
on for as long as a lease lasts with what nobody wants any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from orchestrator import pulse
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import lease
from orchestrator.flow.context import Context
from orchestrator.store.workers import Presence
from orchestrator.telemetry import log, log_fault
from workers.held import Held

LOOK_S: Final = 1.0


class Heartbeat(threading.Thread):
    """Beats until stopped; a database that is away is tried again every second."""

    def __init__(self, context: Context, worker: UUID, held: Held, presence: Callable[[], Sequence[Presence]]) -> None:
        """`presence` tells the models that the worker serves now."""
        super().__init__(name="rightsize-heartbeat", daemon=True)
        self._context, self._worker, self._held, self._presence = context, worker, held, presence
        self._ending = threading.Event()

    def beat_once(self) -> None:
        """Renew now; raises ServiceUnavailable when the database does not answer."""
        asked = self._held.jobs()
        running = [(job, dispatch) for dispatch, jobs in asked.items() for job in jobs]
        self._held.on_beat(lease.beat(self._context, self._worker, self._presence(), list(asked), running), asked)
        pulse.beat(self._context.settings)

    def look_once(self) -> None:
        """See what of all that runs here was ended by others, by a cancel or otherwise; raises ServiceUnavailable."""
        running = self._held.batches()
        if running and (ended := lease.ended_batches(self._context, running)):
            self._held.on_ended(ended)
        singles = self._held.singles.fences()
        if singles and (gone := lease.gone_jobs(self._context, singles)):
            self._held.on_gone([(job, dispatch) for job, dispatch in singles if job in gone])

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
