"""The worker's own reader of interactive queues: what waits there is claimed in groups, and no thread waits for any of it.

Celery's consumer would use more of a processor for such a message than all else that a worker does for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

from orchestrator.envelope import Message, opened
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow import claim as claiming
from orchestrator.flow.claim import Claimed
from orchestrator.flow.context import Context
from orchestrator.telemetry import log, log_fault

PLACES: Final = 256
"""Interactive dispatches that may run here at once: further ones are left to other workers."""
GROUP: Final = 16
LOOK_S: Final = 0.5
"""How long the reader waits for a message, before it looks whether it is to stop."""
MOST_PAUSE_S: Final = 2.0
ASIDE: Final = 8
"""Threads for what has to wait: large bodies, what an orderly stop gives back."""
IN_TURN: Final = 2
"""Threads for what is claimed one by one: suspects, and bulk work that came by the wrong queue."""


class NowReader(threading.Thread):
    """Reads the queues, claims, and hands what it claimed to `begin`; whoever runs a dispatch calls `ended` at its end."""

    def __init__(
        self, context: Context, worker: UUID, queues: Sequence[str], stopping: threading.Event,
        begin: Callable[[Sequence[Claimed]], None], run_alone: Callable[[int], None],
    ) -> None:  # fmt: skip
        """`run_alone` claims and runs one dispatch, and returns at its end."""
        super().__init__(name="rightsize-now", daemon=True)
        self._context = context
        self._worker = worker
        self._queues = list(queues)
        self._stopping = stopping
        self._begin = begin
        self._run_alone = run_alone
        self._free = PLACES
        self._changed = threading.Condition()
        self.aside = ThreadPoolExecutor(ASIDE, thread_name_prefix="rightsize-aside")
        self._in_turn = ThreadPoolExecutor(IN_TURN, thread_name_prefix="rightsize-in-turn")

    def ended(self, count: int = 1) -> None:
        """Dispatches have ended here, or turned out to be none of ours: their places are free."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def finish(self) -> None:
        """Return once nothing that was read runs any more. Called when the worker stops."""
        self.join()
        with self._changed:
            self._changed.wait_for(lambda: self._free == PLACES)
        self.aside.shutdown()
        self._in_turn.shutdown()

    def run(self) -> None:
        """Read until the worker stops."""
        pause_s = 0.1
        while not self._stopping.is_set():
            if not self._has_room():
                continue
            try:
                queue, messages = self._context.broker.take(self._queues, min(GROUP, self._free), LOOK_S)
                pause_s = 0.1
            except ServiceUnavailable as error:
                log("broker_away", logging.WARNING, detail=error.message)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
                continue
            if messages:
                self._read(queue, messages)

    def _has_room(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._free > 0, LOOK_S)

    def _read(self, queue: str, messages: Sequence[bytes]) -> None:
        if self._stopping.is_set():
            self._context.broker.put_back(queue, messages)
            return
        # The one that had something comes last: a busy queue does not keep the others waiting.
        self._queues.sort(key=queue.__eq__)
        wanted = [found for found in map(opened, messages) if found is not None]
        if len(wanted) < len(messages):
            log("message_dropped", logging.WARNING, queue=queue, messages=len(messages) - len(wanted))
        if not wanted:
            return
        with self._changed:
            self._free -= len(wanted)
        claimed, left = self._claim([one.dispatch_id for one in wanted])
        _address(claimed, wanted)
        self.ended(len(wanted) - len(claimed) - len(left))
        for dispatch_id in left:
            self._in_turn.submit(self._alone, dispatch_id)
        here = [one for one in claimed if not one.apart]
        if here:
            self._begin(here)
        for one in claimed:
            if one.apart:
                self.aside.submit(self._fetch, one)

    def _claim(self, wanted: Sequence[int]) -> tuple[list[Claimed], list[int]]:
        """Claim with patience. A worker that stops leaves the messages: nobody claims them, and they are sent again."""
        pause_s = 0.1
        while not self._stopping.is_set():
            try:
                return claiming.claim_many(self._context, wanted, self._worker)
            except ServiceUnavailable as error:
                log("database_away", logging.WARNING, detail=error.message)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
            except Exception as error:
                # One bad dispatch must not hold up those that were read with it.
                log_fault("unexpected_outcome", error)
                return [], list(dict.fromkeys(wanted))
        return [], []

    def _alone(self, dispatch_id: int) -> None:
        try:
            self._run_alone(dispatch_id)
        except Exception as error:
            # The end of the lease queues the jobs again.
            log_fault("unexpected_outcome", error, dispatch=dispatch_id)
        finally:
            self.ended()

    def _fetch(self, claimed: Claimed) -> None:
        """Read the large bodies of a dispatch, then run it."""
        fetched = False
        try:
            fetched = claiming.fetch(self._context, claimed)
        except Exception as error:
            log_fault("unexpected_outcome", error, dispatch=claimed.claim.dispatch_id)
        if fetched:
            self._begin([claimed])
        else:
            self.ended()


def _address(claimed: Sequence[Claimed], messages: Sequence[Message]) -> None:
    """Write on each job where its caller waits; what is claimed one by one answers on the job's own stream, and in the row."""
    reply_to = {one.dispatch_id: one.reply_to for one in messages}
    for one in claimed:
        for job in one.jobs:
            job.reply_to = reply_to[one.claim.dispatch_id]
