"""What every route needs: the context, its own bounded threads for the store, and what is kept between requests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from orchestrator.api.answers import Answers
from orchestrator.api.keys import KeyCache
from orchestrator.api.limits import Bounds
from orchestrator.api.metrics import Metrics
from orchestrator.api.places import Places
from orchestrator.contracts import Owner
from orchestrator.flow.context import Context
from orchestrator.flow.gather import THREADS as GATHERERS
from orchestrator.flow.gather import Gatherers, Made, Waiting
from orchestrator.flow.submit import Prepared, Submitted
from orchestrator.telemetry import log_fault

P = ParamSpec("P")
R = TypeVar("R")

SUBMITTERS: Final = 16
READERS: Final = 8
WATCHERS: Final = 3
"""Readers that may look at once for those who wait: the others are left to whoever asks for something now."""
SENDERS: Final = 4
"""Threads that try webhook endpoints out, each for as long as its receiver takes, at most ten seconds."""
PROBES: Final = 2
CONNECTIONS: Final = SUBMITTERS + READERS + SENDERS + PROBES + GATHERERS
"""The database pool of an API process: one for each thread that may hold one."""
WRITERS: Final = 8
"""Threads that write, read and delete blobs; they hold no connection."""
MOST_PLANS: Final = 1_000

Plan = tuple[tuple[str, str, int], ...]
"""Tier, model and number of jobs: how a batch's rows were routed."""


@dataclass(slots=True)
class Serving:
    """One API process."""

    context: Context
    bounds: Bounds
    answers: Answers
    metrics: Metrics = field(default_factory=Metrics)
    keys: KeyCache = field(default_factory=KeyCache)
    estimators: Places = field(default_factory=Places)
    """Of those whose estimate is made, or is yet to be."""
    copiers: Places = field(default_factory=Places)
    """Of those whose failed rows are copied into a batch of their own."""
    estimating: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Estimates that are made at the same time: each reads a whole file."""
    followers: Places = field(default_factory=Places)
    """Of those who follow a batch by its events."""
    waiters: Places = field(default_factory=Places)
    """Of those who wait for the end of a job."""
    forgetting: Places = field(default_factory=Places)
    """Of those whose document is being forgotten."""
    testers: Places = field(default_factory=Places)
    """Of those who try a webhook endpoint out."""
    plans: OrderedDict[int, Plan] = field(default_factory=OrderedDict)
    """Plans of batches that were opened: they do not change any more. The oldest are forgotten."""
    gatherers: Gatherers = field(init=False)
    _submitters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SUBMITTERS))
    _readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))
    _watchers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WATCHERS))
    _writers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WRITERS))
    _senders: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SENDERS))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _probes: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PROBES))

    def __post_init__(self) -> None:
        self.gatherers = Gatherers(self.context, _deliver)

    async def gather(self, owner: Owner, prepare: Callable[[], Prepared]) -> Submitted:
        """Submit an interactive request together with what else waits; raises what it is refused for."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Submitted] = loop.create_future()
        self.gatherers.put(Waiting(owner, prepare, told))
        return await told

    async def submit(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step that writes to the store on a thread; reads never wait behind it."""
        return await anyio.to_thread.run_sync(partial(step, *args, **kwargs), limiter=self._submitters)

    async def read(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step that reads the store on a thread."""
        return await anyio.to_thread.run_sync(partial(step, *args, **kwargs), limiter=self._readers)

    async def watch(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step that looks again and again at what somebody waits for: it never takes more than a few of the readers."""
        async with self._watchers:
            return await self.read(step, *args, **kwargs)

    async def write(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step that works on the blob store, and not on the database, on a thread."""
        return await anyio.to_thread.run_sync(partial(step, *args, **kwargs), limiter=self._writers)

    async def send(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step that waits for a receiver of webhooks on a thread."""
        return await anyio.to_thread.run_sync(partial(step, *args, **kwargs), limiter=self._senders)

    async def probe(self, within_s: float, step: Callable[[], R]) -> R | None:
        """Run a check on a thread of its own, and give up on it after a while: None."""
        with anyio.move_on_after(within_s):
            return await anyio.to_thread.run_sync(step, limiter=self._probes, abandon_on_cancel=True)
        return None

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something after the response: it is held on to until it is done, and what fails in it is told in the log."""
        task = asyncio.ensure_future(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _told(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # nobody awaits it: the log is the only place left
            log_fault("request_failed", error, id="after its response")

    async def settle(self) -> None:
        """Wait for what is still done after responses."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def keep_plan(self, batch_id: int, plan: Plan) -> None:
        """Remember how the rows of an opened batch were routed."""
        self.plans[batch_id] = plan
        while len(self.plans) > MOST_PLANS:
            self.plans.popitem(last=False)


def _deliver(made: Sequence[tuple[Waiting, Made]]) -> None:
    """Wake those who wait, all of them with one call into their loop."""
    first: Any = made[0][0].place
    # A loop that is closed has nobody left who waits.
    with suppress(RuntimeError):
        first.get_loop().call_soon_threadsafe(_tell, made)


def _tell(made: Sequence[tuple[Waiting, Made]]) -> None:
    for one, what in made:
        told: Any = one.place
        if told.done():
            continue
        if isinstance(what, Submitted):
            told.set_result(what)
        else:
            told.set_exception(what)


def serving_of(request: Request) -> Serving:
    """What `create_app` put there."""
    serving: Serving = request.app.state.serving
    return serving
