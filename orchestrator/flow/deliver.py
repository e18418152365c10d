"""Deliver: what lies in the outbox is sent to its endpoints until they take it; one that hangs holds up nobody but itself.

What was sent and not noted, since the sender died in between, is sent once more under the same `webhook-id`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator.errors import ServiceUnavailable
from orchestrator.flow.context import Context
from orchestrator.flow.notify import message_id
from orchestrator.store import webhooks
from orchestrator.store.webhooks import Shares
from orchestrator.telemetry import log_away, log_fault
from orchestrator.webhooks.schedule import next_after_s
from orchestrator.webhooks.send import Delivery, Sender

AT_ONCE: Final = 32
"""Events that one orchestrator sends at the same time."""
SHARES: Final = Shares(of_endpoint=2, of_tenant=8)
"""Of those: receivers that hang, for up to ten seconds each, leave the rest to others."""
TAKEN_S: Final = 60.0
"""How long what was taken is nobody else's: longer than any send may take."""
GONE: Final = "The receiver answered 410 Gone."
DISABLED: Final = Delivery("endpoint_disabled", "The endpoint is disabled. Change it to have it told again.")
FAULTY: Final = Delivery("not_sent", "The event could not be sent, by a fault of the service. It is tried again.")


class Deliveries:
    """What one orchestrator is sending just now. Its threads only send: the one that calls `step` has the database."""

    def __init__(self, context: Context, sender: Sender, wake: Callable[[], None]) -> None:
        """`wake` is called when something was sent, so that `step` is called again."""
        self._context = context
        self._sender = sender
        self._wake = wake
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rightsize-webhook")
        self._sending: dict[Future[Delivery], Row[Any]] = {}

    def step(self) -> int:
        """Note what was sent, and begin to send what is due as far as threads are free; returns how many were noted."""
        noted = self._note()
        if free := AT_ONCE - len(self._sending):
            with self._context.database.unit_of_work() as session:
                taken = webhooks.take(session, free, TAKEN_S, list(self._sending.values()), SHARES)
            for row in taken:
                future = self._threads.submit(self._sent, row)
                self._sending[future] = row
                future.add_done_callback(lambda _: self._wake())
        return noted

    def close(self) -> None:
        """Wait for what is being sent, and note what became of it."""
        self._threads.shutdown()
        try:
            self._note()
        except ServiceUnavailable as error:
            log_away(error)

    def _sent(self, row: Row[Any]) -> Delivery:
        if row.disabled_at is not None:
            return DISABLED
        return self._sender.send(row.url, row.secrets, message_id(row.public_id), row.payload)

    def _note(self) -> int:
        """Write down what became of what was sent; where that fails it is still there for the next step."""
        ended = [future for future in self._sending if future.done()]
        if not ended:
            return 0
        with self._context.database.unit_of_work() as session:
            for future in ended:
                _note_one(session, self._sending[future], _told(future))
        for future in ended:
            del self._sending[future]
        return len(ended)


def _told(future: Future[Delivery]) -> Delivery:
    """What became of a send; a fault of ours in one must not keep the others from being noted."""
    try:
        return future.result()
    except Exception as error:
        log_fault("pass_failed", error)
        return FAULTY


def _note_one(session: Session, row: Row[Any], one: Delivery) -> None:
    if one.delivered:
        webhooks.done(session, row.id, one.code, one.detail)
        return
    jitter = random.random()  # noqa: S311 - jitter, not a secret
    ends = one.gone or row.disabled_at is not None
    delay_s = None if ends else next_after_s(row.attempts, jitter, one.retry_after_s)
    webhooks.failed(session, row.id, one.code, one.detail, delay_s)
    if one.gone:
        webhooks.disable(session, row.endpoint_id, GONE)
