"""One model that a worker process serves: its engine, the gate before it, and the watch that keeps it full."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import orjson

from orchestrator.contracts import ClaimedJob, Outcome
from orchestrator.fleet import Model
from orchestrator.requests import POOLING
from orchestrator.telemetry import log, log_fault
from workers.engines.base import Engine
from workers.engines.prompt import output_limit, prompt_text
from workers.gate import Gate
from workers.meter import Meter
from workers.room import Ask, Room
from workers.window import Seen, next_limit

SMOOTHING: Final = 0.1
"""Weight of the newest request in the running mean of the engine's time."""
LOOK_S: Final = 0.25
"""So often the engine's report is looked at."""
UNTIL_TOLD_S: Final = 1.0
FEED: Final = 1.5
"""Of its slots an engine with a queue may hold at most: some are being made ready or written out, and some wait, while it runs the rest."""
READ_BYTES: Final = 65_536
"""A longer body is not read for the length of its answer before its turn: it holds pictures, or a prompt that counts far more."""
LEAST: Final = 2
"""Requests that the engine gets whatever it reports: it must have something to report of."""


class LoadedModel:
    """A loaded model."""

    def __init__(self, model: Model, engine: Engine, meter: Meter | None = None) -> None:
        """`meter` is there for a model that is priced by the hour."""
        self.model, self.engine, self._meter = model, engine, meter
        limits = engine.limits()
        self._cache = limits.cache
        room = Room(limits.cache.tokens, limits.cache.block) if limits.cache else None
        # Kept slots stay free only if no more than the others hold goes in; otherwise the report alone says what is enough.
        feed = FEED if limits.queues and not model.reserve else 1.0
        self.gate = Gate(max(1, round(feed * limits.slots)), model.reserve, room)
        self.latency_s: float | None = None
        self._seen = Seen(self.gate.bulk_limit)
        self._told_blind = False

    def in_engine(self) -> AbstractContextManager[None]:
        """While a request is in the engine: a machine that is priced by the hour is busy."""
        return self._meter.request() if self._meter else nullcontext()

    def observe(self, engine_s: float) -> None:
        """Follow how long requests take."""
        self.latency_s = (
            engine_s if self.latency_s is None else self.latency_s + SMOOTHING * (engine_s - self.latency_s)
        )

    def asked(self, job: ClaimedJob) -> Ask | None:
        """What a job is expected to take of the engine's cache; None where nobody asks."""
        room = self.gate.room
        if room is None or self._cache is None:
            return None
        reads_only = job.endpoint in POOLING
        most, chars = 1 if reads_only else self.model.max_output_tokens, len(job.body)
        if not reads_only and chars <= READ_BYTES:
            body = orjson.loads(job.body or b"{}")
            text = prompt_text(body)
            most, chars = (output_limit(body) or most) * (body.get("n") or 1), len(text)
            if room.unsure:
                room.count(chars, self._cache.count(text))
        return room.ask(chars, most)

    def learn(self, asked: Ask | None, outcome: Outcome) -> None:
        """Follow what answered requests have taken. An answer is worth more than what it teaches: this never raises."""
        try:
            self.observe(outcome.engine_s)
            if self.gate.room is not None and asked is not None:
                self.gate.room.learn(asked, outcome.usage, outcome.engine_s)
        except Exception as error:
            log_fault("pass_failed", error, model=self.model.name)

    async def keep_full(self) -> None:
        """Follow the engine's report from its first one on. An engine that never tells gets all that its slots allow."""
        told = False
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S if told else UNTIL_TOLD_S)
            now = time.monotonic()
            try:
                if told:
                    self.look(now - looked)
                elif told := self.engine.load_now() is not None:
                    # What it can run is not known yet, and grows by half from look to look.
                    self._seen = Seen(min(self.gate.most_bulk, max(LEAST, self.gate.most_bulk // 4)))
                    self.gate.limit_bulk(self._seen.limit)
            except Exception as error:
                log_fault("pass_failed", error, model=self.model.name)
            looked = now

    def look(self, elapsed_s: float) -> None:
        """Read the report once, and set the gate by it."""
        load = self.engine.load_now()
        if (load is None) != self._told_blind:
            self._told_blind = load is None
            if load is None:
                log("load_unreadable", logging.WARNING, model=self.model.name)
            else:
                log("load_readable", model=self.model.name)
        gate = self.gate
        if gate.room is not None and load is not None:
            gate.room.compare(load.kv_use * gate.room.capacity, time.monotonic(), overfull=load.waiting > 0)
        self._seen = next_limit(
            self._seen,
            load,
            held=gate.bulk,
            inside=gate.inside,
            wanted=gate.waiting,
            most=gate.most_bulk,
            least=LEAST,
            elapsed_s=elapsed_s,
            foreseen=gate.room is not None,
        )
        gate.limit_bulk(self._seen.limit)
