"""One model that a worker process serves: its engine, the gate before it, and the watch that keeps it full."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from orchestrator.fleet import Model
from orchestrator.telemetry import log
from workers.engines.base import Engine
from workers.gate import Gate
from workers.window import Seen, next_limit

SMOOTHING: Final = 0.1
"""Weight of the newest request in the running mean of the engine's time."""
LOOK_S: Final = 0.25
"""So often the engine's report is looked at."""
LEAST: Final = 2
"""Requests that the engine gets whatever it reports: it must have something to report of."""


class Served:
    """A loaded model."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine
        self.gate = Gate(max(1, engine.limits().slots), model.reserve)
        self.latency_s: float | None = None
        self._seen = Seen(self.gate.bulk_limit)
        self._told_blind = False

    def observe(self, engine_s: float) -> None:
        """Follow how long requests take."""
        self.latency_s = (
            engine_s if self.latency_s is None else self.latency_s + SMOOTHING * (engine_s - self.latency_s)
        )

    async def keep_full(self) -> None:
        """Follow the engine's report for as long as it gives one; ends at once for an engine that never does."""
        if self.engine.load_now() is None:
            return
        self._seen = Seen(min(self.gate.most_bulk, max(LEAST, self.gate.most_bulk // 4)))
        self.gate.limit_bulk(self._seen.limit)
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            self.look(now - looked)
            looked = now

    def look(self, elapsed_s: float) -> None:
        """Read the report once, and set the gate by it."""
        load = self.engine.load_now()
        if (load is None) != self._told_blind:
            self._told_blind = load is None
            level = logging.WARNING if load is None else logging.INFO
            log("load_unreadable" if load is None else "load_readable", level, model=self.model.name)
        gate = self.gate
        self._seen = next_limit(
            self._seen,
            load,
            held=gate.bulk,
            wanted=gate.waiting,
            most=gate.most_bulk,
            least=LEAST,
            elapsed_s=elapsed_s,
        )
        gate.limit_bulk(self._seen.limit)
