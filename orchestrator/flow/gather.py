"""Gather: interactive requests of one owner that wait at the same moment are submitted together, in ONE transaction.

The budget's row is the owner's bottleneck: each transaction holds it through its commit. There is no timer: the next group is
whatever came while the last one was committed, so that a request that comes alone waits for nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.contracts import Owner
from orchestrator.crashpoints import reached
from orchestrator.errors import Broken, RightsizeError, ServiceUnavailable
from orchestrator.flow.admit import admit, check_backpressure
from orchestrator.flow.context import Context
from orchestrator.flow.erasing import deleted
from orchestrator.flow.quotas import check_jobs_queued
from orchestrator.flow.submit import Prepared, Submitted, accept, publish, same_request
from orchestrator.pricing import ZERO
from orchestrator.store import single
from orchestrator.telemetry import log_fault

MOST: Final = 16
"""Requests of one transaction: enough to share a commit, few enough that none waits long for the others."""
THREADS: Final = 8
"""Owners that are served at the same time."""
BUG: Final = "The request could not be stored. This is a bug: report it."
T = TypeVar("T")

Made = Submitted | RightsizeError
"""What became of a request: a job, or why there is none."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits to be submitted."""

    owner: Owner
    prepare: Callable[[], Prepared]
    """Checks and routes it; raises a Refused error. Its neighbours wait for it."""
    place: object
    """The caller's, to know it again."""


class Gatherers:
    """Threads that submit what waits; each group is one owner's, and each owner has one group at a time."""

    def __init__(self, context: Context, deliver: Callable[[Sequence[tuple[Waiting, Made]]], None]) -> None:
        """`deliver` is called on a gatherer's thread with what became of a group."""
        self._context = context
        self._deliver = deliver
        self._waiting: dict[Owner, deque[Waiting]] = {}
        self._due: deque[Owner] = deque()
        """Owners of whom something waits and nothing is submitted just now."""
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []

    def put(self, one: Waiting) -> None:
        """Have a request submitted with what else waits; does not block."""
        with self._changed:
            if not self._threads:
                self._start()
            queue = self._waiting.get(one.owner)
            if queue is None:
                queue = self._waiting[one.owner] = deque()
                self._due.append(one.owner)
                self._changed.notify()
            queue.append(one)

    def _start(self) -> None:
        for number in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"rightsize-gather-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Submit what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            owner, group = taken
            try:
                made = self._submit(owner, group)
            except Exception as error:
                # A thread that ends would leave its owner's requests waiting for ever.
                log_fault("request_failed", error, id="in a group")
                made = [(one, Broken(BUG)) for one in group]
            self._done(owner)
            self._deliver(made)

    def _take(self) -> tuple[Owner, list[Waiting]] | None:
        """An owner's next group; None once closed and done."""
        with self._changed:
            while not self._due:
                if self._closed:
                    return None
                self._changed.wait()
            owner = self._due.popleft()
            queue = self._waiting[owner]
            return owner, [queue.popleft() for _ in range(min(MOST, len(queue)))]

    def _done(self, owner: Owner) -> None:
        """Let the owner's next group be taken, behind the other owners'."""
        with self._changed:
            if self._waiting[owner]:
                self._due.append(owner)
                self._changed.notify()
            else:
                del self._waiting[owner]

    def _submit(self, owner: Owner, group: Sequence[Waiting]) -> list[tuple[Waiting, Made]]:
        ready: list[tuple[Waiting, Prepared]] = []
        made: list[tuple[Waiting, Made]] = []
        for one in group:
            found = _told(one.prepare)
            if isinstance(found, Prepared):
                ready.append((one, found))
            else:
                made.append((one, found))
        if ready:
            jobs = accept_all(self._context, owner, [prepared for _, prepared in ready])
            made += [(one, what) for (one, _), what in zip(ready, jobs, strict=True)]
        return made


def accept_all(context: Context, owner: Owner, asked: Sequence[Prepared]) -> list[Made]:
    """Store an owner's interactive requests in one transaction; where that is refused, one by one, so that each answers for itself.

    A database that does not answer is told to all: what was committed in that moment is not known.
    """
    if len(asked) > 1:
        with suppress(RightsizeError, SQLAlchemyError, ArithmeticError, ValueError):  # whom it concerns is told below
            try:
                return list(_together(context, owner, asked))
            except ServiceUnavailable as error:
                return [error] * len(asked)
    return [_told(partial(accept, context, one)) for one in asked]


def _told(step: Callable[[], T]) -> T | RightsizeError:
    """What a step of one request gives, or what it is refused for: its neighbours go on."""
    try:
        return step()
    except RightsizeError as error:
        return error
    except Exception as error:
        log_fault("request_failed", error, id="before its job")
        return Broken(BUG)


def _together(context: Context, owner: Owner, asked: Sequence[Prepared]) -> list[Submitted]:
    """One transaction of a group; the budget comes last, since its row is hot. Raises what any of its requests is refused for."""
    with context.database.unit_of_work(owner.tenant_id) as session:
        keyed = [(one.key, one.digest, one.public_id) for one in asked if one.key is not None]
        bound = single.remember_keys(session, owner.tenant_id, keyed) if keyed else set()
        new = [one for one in asked if one.key is None or one.public_id in bound]
        targets = {
            one.public_id: same_request(single.recall_key(session, owner.tenant_id, one.key), one.digest)
            for one in asked
            if one.key is not None and one.public_id not in bound
        }
        sent: list[int] = []
        if new:
            check_backpressure(context, session)
            check_jobs_queued(context, session, owner, len(new))
            sent = single.add_now(
                session, owner, [one.job for one in new], context.versions,
                within_s=[one.within_s for one in new], claim_by_s=context.settings.claim_by_s,
            )  # fmt: skip
            admit(session, owner, sum((one.job.held_usd for one in new), start=ZERO))
            reached("submit.before_commit")
    if new:
        reached("submit.after_commit")
        publish(context, list(zip(new, sent, strict=True)))
    deleted(context.blobs, [one.job.blob_key for one in asked if one.public_id in targets and one.job.blob_key])
    return [Submitted(targets.get(one.public_id, one.public_id), one.job) for one in asked]
