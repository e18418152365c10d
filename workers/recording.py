"""A thread that records outcomes in groups: the next flush as soon as the last one ended, no timer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from orchestrator.contracts import ClaimedJob, Fence, Outcome, OutcomeKind
from orchestrator.errors import ServiceUnavailable
from orchestrator.flow.context import Context
from orchestrator.flow.record import Recorder
from orchestrator.store.recording import Metered
from orchestrator.telemetry import log_away, log_fault

MOST_PAUSE_S = 5.0


@dataclass(slots=True)
class Open:
    """A dispatch with jobs that are neither recorded, given back nor dropped yet."""

    dispatch_id: int
    left: int
    lost: bool = False
    """Its lease is not ours any more: whoever holds it ends it."""
    when_settled: Callable[[], object] | None = None
    """Called once nothing of it is left, on the thread that found that."""
    settled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, jobs: int) -> None:
        """Count jobs as recorded, given back or dropped; called from several threads."""
        with self._lock:
            self.left -= jobs
            over = self.left == 0 and not self.settled.is_set()
            if over:
                self.settled.set()
        if over and self.when_settled is not None:
            self.when_settled()


@dataclass(frozen=True, slots=True)
class Item:
    """One outcome on its way into the store."""

    job: ClaimedJob
    outcome: Outcome
    open: Open
    on_recorded: Callable[[], object] | None = None
    """Called on the recorder's thread once it is there, or given up."""


def answer_of(item: Item, charge_usd: Decimal) -> dict[str, bytes]:
    """What the caller of an interactive job is told, by field."""
    outcome, fault = item.outcome, item.outcome.fault
    fields = {
        "kind": str(outcome.kind),
        "attempt": str(item.job.attempt),
        "cost_usd": f"{charge_usd:f}",
        "simulated": "1" if outcome.simulated else "0",
        "status": str(fault.http_status if fault else 200),
        "code": fault.code if fault else "",
        "message": fault.message if fault else "",
    }
    return {**{name: text.encode("utf-8", "replace") for name, text in fields.items()}, "body": outcome.body or b""}


class RecordingThread(threading.Thread):
    """Takes outcomes from any thread; one connection, one transaction at a time."""

    def __init__(
        self,
        context: Context,
        name: str,
        answer: Callable[[Sequence[tuple[Item, Decimal]]], None] | None = None,
        metered: Metered | None = None,
        *,
        wakes: bool = True,
    ) -> None:
        """`wakes` tells the dispatcher of every flush, since it made room; otherwise only of what is to be tried again."""
        super().__init__(name=f"rightsize-{name}", daemon=True)
        self._context = context
        self._recorder = Recorder(context, metered)
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._answer = answer
        self._wakes = wakes
        self.abandon = threading.Event()

    def put(self, item: Item) -> None:
        """Hand over one outcome."""
        self._queue.put(item)

    def close(self) -> None:
        """Record what is there, then end."""
        self._queue.put(None)

    def run(self) -> None:
        """Flush until closed."""
        most = self._context.settings.flush_max
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, closed = [first], False
            while len(group) < most:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    closed = True
                    break
                group.append(item)
            try:
                self._flush(group)
            except Exception as error:
                # A thread that ends would let the worker claim on and record nothing.
                log_fault("unexpected_outcome", error)
            if closed:
                return

    def _flush(self, group: list[Item]) -> None:
        settled: dict[int, list[Item]] = {}
        for item in group:
            settled.setdefault(item.open.dispatch_id, []).append(item)
        opens = {dispatch_id: items[0].open for dispatch_id, items in settled.items()}
        done = [one.dispatch_id for one in opens.values() if one.left == len(settled[one.dispatch_id]) and not one.lost]
        taken = self._record(group, done)
        if taken is None:
            for one in opens.values():
                # Not to be ended by its last outcome: its jobs come back when its lease ends.
                one.lost = True
        for dispatch_id, items in settled.items():
            opens[dispatch_id].settle(len(items))
        for item in group:
            if item.on_recorded is not None:
                item.on_recorded()
        if taken is None:
            return
        awaited = [item for item in group if item.job.interactive and item.job.fence in taken]
        told = [(item, taken[item.job.fence]) for item in awaited if self._is_last(item)]
        if told and self._answer is not None:
            self._answer(told)
        # Whoever makes the next attempt has it from a lane, and not from the message that says where the caller waits.
        kept = {
            item.job.public_id: item.job.reply_to for item in awaited if item.job.reply_to and not self._is_last(item)
        }
        if kept:
            self._context.broker.keep_replies(kept)
        woken = {item.job.model for item in group if self._wakes or not self._is_last(item)}
        woken.update(name for item in group if item.outcome.kind is OutcomeKind.REJECTED for name in item.job.cascade)
        for model in woken:
            self._context.broker.wake(model)

    def _is_last(self, item: Item) -> bool:
        """Whether nothing follows this outcome: only then has an interactive caller its answer."""
        return not self._recorder.follows(item.job, item.outcome)

    def _record(self, group: list[Item], done: list[int]) -> dict[Fence, Decimal] | None:
        """Record with patience: a database or blob store that is away is waited for, and the work is not lost with it."""
        pairs = [(item.job, item.outcome) for item in group]
        pause_s = 0.1
        while True:
            try:
                return self._recorder.record(pairs, done)
            except ServiceUnavailable as error:
                log_away(error, waiting=len(pairs))
            except Exception as error:
                # The lease ends and another worker runs these jobs again: better than a worker that records nothing more.
                log_fault("unexpected_outcome", error)
                return None
            if self.abandon.is_set():
                return None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
