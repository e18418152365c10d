"""Single jobs: handed in, waited for, cancelled."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import CHAT, Call, Thing, get, path_of
from orchestrator.client.transport import Transport
from orchestrator.errors import Busy

MOST_WAIT_S: Final = 60.0
"""How long the service waits for a job in one call."""
BEYOND_S: Final = 30.0
"""How much longer than that the answer may take."""

FULL: Final = 429
"""Too many wait already: the service is there, and is asked again for as long as the caller waits."""


def submit_call(body: Mapping[str, Any], endpoint: str, deadline: str, key: str | None) -> Call:
    """Hands in one request."""
    wanted = {"endpoint": endpoint, "body": body, "deadline": deadline}
    return Call("POST", "/v1/jobs", body=wanted, key=key or uuid.uuid4().hex, again=True)


def job_call(job_id: str, wait_s: float | None) -> Call:
    """Reads a job, or waits for it in one call."""
    return get(path_of("jobs", job_id), {"wait_s": wait_s}, within_s=wait_s and wait_s + BEYOND_S)


def cancel_call(job_id: str) -> Call:
    """Cancels a job."""
    return Call("POST", path_of("jobs", job_id, "cancel"), again=True)


class Waits:
    """How long one call after the other waits for a job, until all of the time is up."""

    def __init__(self, within_s: float | None) -> None:
        self._end = None if within_s is None else time.monotonic() + within_s

    def next_s(self) -> float:
        """How long the next call waits."""
        left = MOST_WAIT_S if self._end is None else self._end - time.monotonic()
        return round(min(MOST_WAIT_S, max(left, 0.0)), 3)

    def is_over(self, job: Thing) -> bool:
        """Whether the job has ended, or the time is up."""
        return job["ended_at"] is not None or (self._end is not None and time.monotonic() >= self._end)


class Jobs:
    """Hands in jobs one at a time."""

    _transport: Transport

    def submit_job(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, deadline: str = "24h", key: str | None = None
    ) -> Thing:
        """Hand in one request to be answered later; returns the job, whose `id` reads it."""
        return self._transport.answer(submit_call(body, endpoint, deadline, key))

    def job(self, job_id: str, *, wait_s: float | None = None) -> Thing:
        """A job: its state, route with reasons, attempts, charges, and its result once there is one.

        With `wait_s` (at most 60) the service answers when it has ended, or after so long.
        """
        return self._transport.answer(job_call(job_id, wait_s))

    def wait_job(self, job_id: str, *, within_s: float | None = None) -> Thing:
        """Wait until a job has ended, and return it; after `within_s` it comes back as it stands then."""
        waits, patience = Waits(within_s), self._transport.waiting()
        while True:
            try:
                job = self.job(job_id, wait_s=waits.next_s())
            except Busy as error:
                if error.status == FULL:
                    patience.heard()
                time.sleep(patience.pause_s(error))
                continue
            patience.heard()
            if waits.is_over(job):
                return job

    def cancel_job(self, job_id: str) -> Thing:
        """Cancel a job that has not ended."""
        return self._transport.answer(cancel_call(job_id))


class AsyncJobs:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    async def submit_job(
        self, body: Mapping[str, Any], *, endpoint: str = CHAT, deadline: str = "24h", key: str | None = None
    ) -> Thing:
        """Hand in one request to be answered later; returns the job."""
        return await self._transport.answer(submit_call(body, endpoint, deadline, key))

    async def job(self, job_id: str, *, wait_s: float | None = None) -> Thing:
        """A job with all that became of it; see `Jobs.job`."""
        return await self._transport.answer(job_call(job_id, wait_s))

    async def wait_job(self, job_id: str, *, within_s: float | None = None) -> Thing:
        """Wait until a job has ended, and return it; after `within_s` it comes back as it stands then."""
        waits, patience = Waits(within_s), self._transport.waiting()
        while True:
            try:
                job = await self.job(job_id, wait_s=waits.next_s())
            except Busy as error:
                if error.status == FULL:
                    patience.heard()
                await asyncio.sleep(patience.pause_s(error))
                continue
            patience.heard()
            if waits.is_over(job):
                return job

    async def cancel_job(self, job_id: str) -> Thing:
        """Cancel a job that has not ended."""
        return await self._transport.answer(cancel_call(job_id))
