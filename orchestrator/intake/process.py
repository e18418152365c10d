"""The intake's process: takes messages, works on them on threads, and leaves nothing behind.

A message is forgotten once what came of it is in Postgres and told; until then it stands in Redis under this intake's name
(`queue.py`). A server that is away is waited for with the message in hand.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from orchestrator import heap, pulse
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow.context import Context, open_context
from orchestrator.intake.producers import AWAY, Producers, Untold
from orchestrator.intake.queue import Queue, Taken
from orchestrator.intake.work import CONNECTIONS, Desk, Left, Outcome
from orchestrator.patience import START_S
from orchestrator.settings import MIB, Settings
from orchestrator.stopping import on_signals
from orchestrator.store import refusals
from orchestrator.store.migrate import check_schema
from orchestrator.telemetry import configure, log, log_away, log_fault

T = TypeVar("T")

AT_ONCE: Final = 16
"""Messages that are worked on beside those that wait for the end of a job."""
WAITING: Final = 48
PLACES: Final = AT_ONCE + WAITING
IDLE_S: Final = 0.05
"""How often an empty queue is looked at."""
MOST_PAUSE_S: Final = 2.0
MOST_HELD_BYTES: Final = 256 * MIB
"""Of messages in hand: no more are taken beyond it."""
ENVELOPE_BYTES: Final = 64 * 1024
QUIET_S: Final = 10.0
"""After so long without a word of it, that a server is away is news again."""


class Intake:
    """Runs until it is told to stop. Several may run on one queue at once."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self._producers = Producers(settings)
        # What base64 makes of the largest body.
        most_bytes = settings.max_request_bytes * 4 // 3 + ENVELOPE_BYTES
        self._queue = Queue(context.broker.redis, most_bytes, settings.lease_s)
        self.stop = threading.Event()
        self._desk = Desk(context, self.stop, threading.Semaphore(WAITING))
        self._free = threading.Semaphore(PLACES)
        self._over = threading.Event()
        self._told_at: dict[str, float] = {}

    def run(self) -> None:
        """Run until `stop` is set; then let what is worked on end within `stop_within_s`, and give back the rest."""
        self._context.broker.wait_until_up(START_S)
        self._beat()
        tending = threading.Thread(target=self._tend, name="rightsize-tend")
        tending.start()
        heap.freeze()
        log("started", part="intake", pid=os.getpid())
        with ThreadPoolExecutor(PLACES, thread_name_prefix="rightsize-intake") as pool:
            self._take(pool)
            log("stopping", part="intake", pid=os.getpid())
            self._settle()
            self._over.set()
            tending.join()
            with suppress(*AWAY):  # then it is the end of our lease that gives them back
                self._queue.leave()
        self._producers.close()
        log("stopped", part="intake", pid=os.getpid())

    def _take(self, pool: ThreadPoolExecutor) -> None:
        """Take messages as places become free."""
        pause_s = IDLE_S
        while not self.stop.is_set():
            places = self._places()
            found: list[Taken] = []
            try:
                found = self._queue.take(places) if places else []
                pause_s = IDLE_S
            except AWAY as error:
                self._say_broker_away(error)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
            for one in found:
                pool.submit(self._work_on, one)
            for _ in range(places - len(found)):
                self._free.release()
            if not found:
                self.stop.wait(pause_s)

    def _places(self) -> int:
        """How many messages may be taken now; their places are no more free."""
        if self._queue.bytes_held > MOST_HELD_BYTES:
            return 0
        places = 0
        while places < AT_ONCE and self._free.acquire(blocking=False):
            places += 1
        return places

    def _work_on(self, one: Taken) -> None:
        """Work on a message until it is done, put off, or this intake stops."""
        try:
            outcome = self._patiently(lambda: self._desk.work_on(one.raw))
            self._patiently(lambda: self._finish(one, outcome))
        except Left:
            pass
        except Exception as error:
            # It stays where it is, and is put back with the strays.
            log_fault("pass_failed", error)
        finally:
            self._queue.let_go(one)
            self._free.release()

    def _finish(self, one: Taken, outcome: Outcome) -> None:
        """Tell whoever waits, and forget the message: in this order, so that a result is told at least once."""
        if outcome.later is not None:
            self._queue.put_off(one, *outcome.later)
            return
        if outcome.task_id:
            try:
                self._producers.tell(outcome.task_id, outcome.result, outcome.error)
            except Untold as error:
                log_fault("request_failed", error, id=outcome.task_id)
        self._queue.done(one)

    def _patiently(self, step: Callable[[], T]) -> T:
        """What a step gives, tried again while a server is away; raises Left once this intake stops."""
        pause_s = IDLE_S
        while True:
            try:
                return step()
            except ServiceUnavailable as error:
                self._say_away(error)
            except AWAY as error:
                self._say_broker_away(error)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
            if self.stop.wait(pause_s * (0.5 + random.random())):  # noqa: S311 - jitter, not a secret
                raise Left

    def _settle(self) -> None:
        """Wait until nothing is worked on, or the time for it is up."""
        until = time.monotonic() + self._context.settings.stop_within_s
        for _ in range(PLACES):
            if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
                return

    def _tend(self) -> None:
        """Keep this intake's lease, put back what is due, and beat."""
        settings = self._context.settings
        beat_at = time.monotonic() + settings.heartbeat_s
        while not self._over.wait(settings.poll_s):
            try:
                if lost := self._queue.tend():
                    log("recovered", lost=lost)
                if time.monotonic() > beat_at:
                    self._beat()
                    beat_at = time.monotonic() + settings.heartbeat_s
            except ServiceUnavailable as error:
                self._say_away(error)
            except AWAY as error:
                self._say_broker_away(error)
            except Exception as error:
                log_fault("pass_failed", error)

    def _beat(self) -> None:
        """Keep the queue bound and the list of refusals short, and say that both servers were reached."""
        self._queue.put_back_strays()
        self._producers.declare()
        check_schema(self._context.database)
        with self._context.house.unit_of_work() as session:
            refusals.forget(session, self._context.settings.retention_days)
        pulse.beat(self._context.settings)

    def _say_away(self, error: ServiceUnavailable) -> None:
        if self._is_news("database"):
            log_away(error)

    def _say_broker_away(self, error: BaseException) -> None:
        if self._is_news("broker"):
            log("broker_away", logging.WARNING, detail=f"Redis does not answer ({type(error).__name__}).")

    def _is_news(self, server: str) -> bool:
        """Whether that a server is away was not found out just now: all threads do at once, and again and again."""
        now = time.monotonic()
        told, self._told_at[server] = self._told_at.get(server, float("-inf")), now
        return now - told > QUIET_S


def main(settings: Settings) -> None:
    """Run the intake until SIGTERM or SIGINT.

    Raises InvalidConfig for an old schema or a broker that evicts, ServiceUnavailable for servers that are away.
    """
    configure(settings.log_level, settings.log_format)
    pulse.begin(settings)
    context = open_context(settings, "app", connections=CONNECTIONS, wait_s=START_S)
    try:
        intake = Intake(context)
        on_signals(intake.stop)
        intake.run()
    finally:
        context.close()
