"""The heartbeat, on a thread and a connection of its own: it renews leases and learns what was cancelled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from orchestrator import pulse
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import lease
from orchestrator.flow.context import Context
from orchestrator.flow.lease import Beat
from orchestrator.store.workers import Presence
from orchestrator.telemetry import log, log_fault


class Heartbeat(threading.Thread):
    """Beats until stopped; a database that is away is tried again every second."""

    def __init__(
        self,
        context: Context,
        worker: UUID,
        presence: Callable[[], Sequence[Presence]],
        held: Callable[[], Mapping[int, Sequence[int]]],
        on_beat: Callable[[Beat, Mapping[int, Sequence[int]]], None],
    ) -> None:
        super().__init__(name="rightsize-heartbeat", daemon=True)
        self._context, self._worker = context, worker
        self._presence, self._held, self._on_beat = presence, held, on_beat
        self._stop = threading.Event()

    def beat_once(self) -> None:
        """Renew now; raises ServiceUnavailable when the database does not answer."""
        held = self._held()
        running = [(job, dispatch) for dispatch, jobs in held.items() for job in jobs]
        self._on_beat(lease.beat(self._context, self._worker, self._presence(), list(held), running), held)
        pulse.beat(self._context.settings)

    def run(self) -> None:
        """Beat at the pace of the settings."""
        pause_s = min(1.0, self._context.settings.heartbeat_s)
        while not self._stop.wait(pause_s):
            try:
                self.beat_once()
                pause_s = self._context.settings.heartbeat_s
            except ServiceUnavailable as error:
                log("database_away", logging.WARNING, detail=error.message)
                pause_s = min(1.0, self._context.settings.heartbeat_s)
            except Exception as error:
                log_fault("pass_failed", error)

    def stop(self) -> None:
        """End after the beat that is under way."""
        self._stop.set()
