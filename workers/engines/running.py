"""The requests that an engine runs: each ends by its deadline, by `abort`, or when the engine closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from orchestrator.errors import EngineFault

T = TypeVar("T")
_CLOSE_S: Final = 1.0


class Run:
    """One request that runs. `step` awaits a part of it, and raises EngineFault when it has to stop.

    The deadline is held by each step and not around the whole run, so that a stream never interrupts whoever reads it.
    """

    __slots__ = ("_end", "_limit_s", "_scope", "_why", "aborted", "timeout_s")

    def __init__(self, seconds_left: float, timeout_s: float) -> None:
        self._limit_s = max(0.0, min(seconds_left, timeout_s))
        self._end = asyncio.get_running_loop().time() + self._limit_s
        self._scope: asyncio.Timeout | None = None
        self.aborted = False
        self._why: Callable[[], EngineFault] | None = None
        self.timeout_s = timeout_s

    async def step(self, awaitable: Awaitable[T]) -> T:
        """The result of `awaitable`; raises EngineFault `timeout`, `deadline` or `aborted` if the run ends first."""
        scope = asyncio.timeout_at(self._end)
        self._scope = scope
        try:
            async with scope:
                result = await awaitable
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._fault() from None
        finally:
            self._scope = None
        if self.aborted:
            raise self._fault()
        return result

    def abort(self, why: Callable[[], EngineFault] | None = None) -> None:
        """End the step that runs now, or the next one; `why` gives the fault that it ends with, where it is no abort."""
        self.aborted, self._why = True, why
        now = asyncio.get_running_loop().time()
        self._end = min(self._end, now)
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(now)

    def _fault(self) -> EngineFault:
        if self._why is not None:
            return self._why()
        if self.aborted:
            return EngineFault("The request was aborted.", code="aborted", retryable=False, http_status=499)
        if self._limit_s < self.timeout_s:
            message = "The job's deadline came before the answer. Give it a later deadline or a faster tier."
            return EngineFault(message, code="deadline", retryable=True, http_status=504)
        message = f"No complete answer within {self.timeout_s:g} s. Raise the model's timeout_s, or lower max_tokens."
        return EngineFault(message, code="timeout", retryable=True, http_status=504)


class Runs:
    """All requests that an engine runs now, by job id."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}
        self._closed = False
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._runs.values()))

    @property
    def closed(self) -> bool:
        """Whether the engine was closed."""
        return self._closed

    @contextmanager
    def start(self, job_id: str, seconds_left: float, timeout_s: float) -> Iterator[Run]:
        """A run that can be aborted by `job_id` for as long as the block lasts."""
        if self._closed:
            raise EngineFault("The engine is closed.", code="engine_closed", retryable=True, http_status=503)
        run = Run(seconds_left, timeout_s)
        self._runs.setdefault(job_id, []).append(run)
        self._idle.clear()
        try:
            yield run
        finally:
            left = self._runs[job_id]
            left.remove(run)
            if not left:
                del self._runs[job_id]
            if not self._runs:
                self._idle.set()

    def abort(self, job_id: str) -> None:
        """Stop the runs of a job; unknown ids are ignored."""
        for run in self._runs.get(job_id, ()):
            run.abort()

    def abort_all(self, why: Callable[[], EngineFault]) -> None:
        """Stop every run with the same fault."""
        for runs in self._runs.values():
            for run in runs:
                run.abort(why)

    async def close(self) -> None:
        """Stop every run, start no more, and wait a moment for those that still have to let go of something."""
        self._closed = True
        for runs in self._runs.values():
            for run in runs:
                run.abort()
        if self._runs:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), _CLOSE_S)
