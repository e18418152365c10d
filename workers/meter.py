"""The meter of a worker: how long its models that are priced by the hour were busy, told to the database as intervals."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from orchestrator.errors import ServiceUnavailable
from orchestrator.fleet import Model
from orchestrator.flow import machines
from orchestrator.flow.context import Context
from orchestrator.machine_time import Weights
from orchestrator.store.machines import Reading
from orchestrator.store.recording import Metered
from orchestrator.telemetry import log, log_fault


class Meter:
    """One model's: counts the seconds in which at least one request is in the engine, by the monotonic clock."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._running = 0
        self._since = 0.0
        self._busy_s = 0.0
        given = model.weights
        self._weights = Weights(*(Decimal(str(one)) for one in (given.prefill, given.cached, given.decode)))

    @contextmanager
    def request(self) -> Iterator[None]:
        """While a request is in the engine."""
        with self._lock:
            if not self._running:
                self._since = time.monotonic()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._busy_s += time.monotonic() - self._since

    @property
    def busy_s(self) -> float:
        """So long at least one request was in the engine until now."""
        with self._lock:
            return self._busy_s + (time.monotonic() - self._since if self._running else 0.0)

    def read(self) -> Reading:
        """What it shows now, at the price of today (UTC)."""
        model = self.model
        hour = model.card_on(datetime.now(UTC).date()).hour
        return Reading(model.name, model.tier, hour, self._weights, Decimal(f"{self.busy_s:.6f}"))


class Metering(threading.Thread):
    """Tells what a worker's meters show, from before its engines load until they are closed, on a thread of its own.

    A worker without a model that is priced by the hour has no meters, and starts no thread.
    """

    def __init__(self, context: Context, worker: UUID, models: Sequence[Model]) -> None:
        super().__init__(name="rightsize-meter", daemon=True)
        self.meters = {model.name: Meter(model) for model in models if any(card.hour for card in model.rates)}
        self._context, self._worker = context, worker
        self._kind = machines.LOADING
        self._turn = threading.Lock()
        self._ending = threading.Event()

    @property
    def metered(self) -> Metered | None:
        """What the recorders need to know."""
        return Metered(self._worker, frozenset(self.meters)) if self.meters else None

    def begin(self) -> None:
        """The first interval, of loading; raises ServiceUnavailable when the database does not answer."""
        if self.meters:
            self._tell(machines.LOADING)
            self.start()

    def serve(self) -> None:
        """Loading is over; raises ServiceUnavailable when the database does not answer."""
        if self.meters:
            self._tell(machines.SERVING)

    def drain(self) -> None:
        """The last request has ended."""
        if self.is_alive():
            self._tried(lambda: self._tell(machines.DRAINING))

    def end(self) -> None:
        """The engines are closed. Where the database is away, the orchestrator ends the intervals at the last sign of life."""
        if self.is_alive():
            self._ending.set()
            self.join(10.0)
            self._tried(lambda: machines.end(self._context, self._worker, self._readings()))

    def run(self) -> None:
        """Tell at the pace of the heartbeat; a database that is away is tried again then."""
        while not self._ending.wait(self._context.settings.heartbeat_s):
            self._tried(self._tell)

    def _tell(self, kind: str | None = None) -> None:
        """One at a time: what the thread found before the kind changed must not undo the change."""
        with self._turn:
            self._kind = kind or self._kind
            machines.meter(self._context, self._worker, self._readings(), self._kind)

    def _readings(self) -> list[Reading]:
        return [reading for meter in self.meters.values() if (reading := meter.read()).usd_per_hour]

    def _tried(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ServiceUnavailable as error:
            log("database_away", logging.WARNING, detail=error.message)
        except Exception as error:
            # The thread goes on, and so does the worker: an interval that is not told of is ended by the orchestrator.
            log_fault("pass_failed", error)
