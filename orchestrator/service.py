"""The orchestrator's process: a few loops, each on a thread of its own, that read, dispatch, recover and finish."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final

from orchestrator import heap, pulse
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import coalesce, finish, machines, notify, read, recover, reduce, upkeep
from orchestrator.flow.context import Context
from orchestrator.flow.deliver import Deliveries
from orchestrator.flow.dispatch import Dispatcher
from orchestrator.patience import START_S
from orchestrator.rightsizing.stages import auditing, drifting, stepping
from orchestrator.telemetry import log, log_away, log_fault
from orchestrator.webhooks.send import Sender

MOST_PAUSE_S: Final = 5.0
UPKEEP_EVERY_S: Final = 600.0
ORPHANS_EVERY_S: Final = 86_400.0
"""Looking for them lists every body and result that there is."""
FINISH_PAUSE_S: Final = 0.1
READERS: Final = 2
"""Batches that are read at the same time, each of another tenant: one of a million rows takes a minute, and a small one a moment."""


class Service:
    """Runs the loops until it is told to stop. Several services may run on one database at once."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.stop = threading.Event()
        self.read_now = [threading.Event() for _ in range(READERS)]
        self.sweep_now = threading.Event()
        self.finish_now = threading.Event()
        self.notify_now = threading.Event()
        self.alerts_now = threading.Event()
        self._rejoining = coalesce.Rejoining(context)
        self._drift_at = time.monotonic()
        """When promoted tasks were last looked at for drift."""
        self._orphans_at = time.monotonic()
        """When they are looked for next."""
        self._all_passed_at = time.monotonic()
        """When the dispatcher last looked at every model."""

    def run(self) -> None:
        """Run until `stop` is set; every loop ends with its pass."""
        settings = self.context.settings
        self.context.broker.wait_until_up(START_S)
        loops: dict[str, Callable[[], None]] = {
            "dispatch": self._dispatch_loop,
            **{
                f"read-{n}": partial(self._repeat, wake, settings.poll_s, self._read)
                for n, wake in enumerate(self.read_now)
            },
            "recover": lambda: self._repeat(threading.Event(), settings.recover_every_s, self._recover),
            "machines": lambda: self._repeat(threading.Event(), settings.recover_every_s, self._close_books),
            "coalesce": lambda: self._repeat(threading.Event(), settings.poll_s, self._coalesce),
            "sweep": lambda: self._repeat(self.sweep_now, settings.recover_every_s, self._sweep),
            "finish": lambda: self._repeat(self.finish_now, settings.poll_s, self._finish),
            "audit": lambda: self._repeat(threading.Event(), settings.poll_s, self._audit),
            "alerts": lambda: self._repeat(self.alerts_now, settings.poll_s, self._tell_alerts),
            "notify": self._notify_loop,
            "upkeep": lambda: self._repeat(threading.Event(), UPKEEP_EVERY_S, self._upkeep),
        }
        threads = [threading.Thread(target=loop, name=f"rightsize-{name}") for name, loop in loops.items()]
        for thread in threads:
            thread.start()
        heap.freeze()
        pulse.beat(self.context.settings)
        log("started", part="orchestrator", pid=os.getpid())
        self.stop.wait()
        log("stopping", part="orchestrator", pid=os.getpid())
        for event in (*self.read_now, self.sweep_now, self.finish_now, self.notify_now, self.alerts_now):
            event.set()
        for thread in threads:
            thread.join()
        log("stopped", part="orchestrator")

    def _repeat(self, wake: threading.Event, every_s: float, step: Callable[[], None]) -> None:
        """Run a pass when woken, and at least every so often; a pass that raises is logged and tried again."""
        pause_s = 0.1
        while not self.stop.is_set():
            try:
                step()
            except ServiceUnavailable as error:
                log_away(error)
                self.stop.wait(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
                continue
            except Exception as error:
                log_fault("pass_failed", error)
                self.stop.wait(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
                continue
            pause_s = 0.1
            self._wait(wake, every_s)

    def _wait(self, wake: threading.Event, every_s: float) -> None:
        """Wait for a wake-up, for the interval, or for the end."""
        until = time.monotonic() + every_s
        while not self.stop.is_set() and (left := until - time.monotonic()) > 0:
            if wake.wait(min(left, 0.5)):
                wake.clear()
                return

    def _dispatch_loop(self) -> None:
        dispatcher = Dispatcher(self.context)
        pending: set[str] = {"*"}

        def step() -> None:
            nonlocal pending
            self._pass_over(dispatcher, pending)
            pending = self._woken()

        never = threading.Event()
        never.set()
        self._repeat(never, 0.0, step)

    def _woken(self) -> set[str]:
        """Wait for the next wake-ups; while Redis is away the poll interval alone drives the dispatcher.

        Every model is looked at once in an interval, even while one of them is woken all the time: what holds another back may
        end without a wake-up, as the period of a budget does.
        """
        poll_s = self.context.settings.poll_s
        try:
            names = self.context.broker.wait_for_wake(poll_s)
        except ServiceUnavailable as error:
            log("broker_away", logging.WARNING, detail=error.message)
            self.stop.wait(poll_s)
            return {"*"}
        if "read" in names:
            for wake in self.read_now:
                wake.set()
        if "sweep" in names:
            self.sweep_now.set()
        if "notify" in names:
            self.notify_now.set()
        if time.monotonic() - self._all_passed_at >= poll_s:
            names.add("*")
        return names or {"*"}

    def _pass_over(self, dispatcher: Dispatcher, names: set[str]) -> None:
        everything = "*" in names
        if everything:
            self._all_passed_at = time.monotonic()
        for model in self.context.config.fleet.models:
            if everything or model.name in names:
                dispatcher.pass_over(model)
        if names != {"*"}:
            self.finish_now.set()

    def _read(self) -> None:
        if count := read.read_waiting(self.context):
            log("batch_read", count=count)

    def _recover(self) -> None:
        found = recover.recover(self.context)
        pulse.beat(self.context.settings)
        if found.lost or found.unclaimed or found.expired:
            log("recovered", lost=found.lost, unclaimed=found.unclaimed, expired=found.expired)

    def _close_books(self) -> None:
        machines.close_ended(self.context)

    def _coalesce(self) -> None:
        self._rejoining.look()
        if coalesce.coalesce_due(self.context):
            self.finish_now.set()

    def _audit(self) -> None:
        if time.monotonic() - self._drift_at >= drifting.EVERY_S:
            self._drift_at = time.monotonic()
            drifting.look_at_all(self.context)
            stepping.step_all(self.context)
        while auditing.audit_due(self.context):
            if self.stop.is_set():
                return

    def _sweep(self) -> None:
        if recover.sweep_cancelling(self.context):
            self.finish_now.set()

    def _finish(self) -> None:
        # Every flush wakes this loop: a short pause lets many flushes share one look.
        self.stop.wait(FINISH_PAUSE_S)
        reduce.reduce_due(self.context)
        if count := finish.finish_ended(self.context):
            log("batch_finished", count=count)
            self.notify_now.set()

    def _tell_alerts(self) -> None:
        """On a turn of its own: however much is on its way to receivers, what a budget came to is told."""
        if count := notify.tell_alerts(self.context):
            log("budget_alerts", count=count)
            self.notify_now.set()

    def _notify_loop(self) -> None:
        sender = Sender(self.context.settings.networks)
        with closing(Deliveries(self.context, sender, self.notify_now.set)) as deliveries:

            def step() -> None:
                if count := deliveries.step():
                    log("webhooks_sent", count=count)

            self._repeat(self.notify_now, self.context.settings.poll_s, step)

    def _upkeep(self) -> None:
        """Forget and delete what is old, and see to the partitions; one orchestrator at a time."""
        with self.context.database.locked("upkeep") as ours:
            if ours:
                upkeep.run(self.context, self.stop.is_set)
                if time.monotonic() >= self._orphans_at:
                    self._orphans_at = time.monotonic() + ORPHANS_EVERY_S
                    if count := upkeep.erase_orphans(self.context, self.stop.is_set):
                        log("orphans_erased", count=count)
