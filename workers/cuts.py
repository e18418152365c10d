"""Cuts: the API says of a job that nobody waits for it any more, and whoever runs it stops at once.

A hint like all that goes over Redis: a job that was cancelled besides is found by the heartbeat within a second or two.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from orchestrator.contracts import CUT_CHANNEL
from orchestrator.telemetry import log, log_fault

CALM_S: Final = 5.0
"""After so long without a word the server is asked whether it is still there, and given as long to answer."""
LEAST_PAUSE_S: Final = 0.1
MOST_PAUSE_S: Final = 5.0
_PUBLIC_ID: Final = re.compile(rb"[0-9a-f]{32}")


class Cuts:
    """Hears of cut jobs; a subscription that is lost is made anew."""

    def __init__(self, client: redis.asyncio.Redis, on_cut: Callable[[str], Awaitable[None]]) -> None:
        """`on_cut` gets the public id of a job, which may run anywhere."""
        self._redis, self._on_cut = client, on_cut

    async def listen(self) -> None:
        """Hear of them until cancelled."""
        pause_s = LEAST_PAUSE_S
        while not _ending():
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(CUT_CHANNEL)
                    async with aclosing(_messages(channel)) as messages:
                        async for message in messages:
                            pause_s = LEAST_PAUSE_S
                            await self._hear(message)
            except (RedisError, OSError) as error:  # TimeoutError is one
                if pause_s == LEAST_PAUSE_S:
                    log("broker_away", logging.WARNING, detail=f"cuts of jobs are not heard ({type(error).__name__})")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)

    async def _hear(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        if message["type"] != "message" or not isinstance(data, bytes) or not _PUBLIC_ID.fullmatch(data):
            return
        try:
            await self._on_cut(data.decode())
        except Exception as error:
            log_fault("pass_failed", error)


async def _messages(channel: redis.asyncio.client.PubSub) -> AsyncGenerator[dict[str, Any], None]:
    """What comes over a subscription; raises TimeoutError where the server does not answer any more."""
    asked = False
    while not _ending():
        message = await channel.get_message(timeout=CALM_S)
        if message is not None:
            asked = False
            yield message
        elif asked:
            raise TimeoutError
        else:
            await channel.ping()
            asked = True


def _ending() -> bool:
    """Whether this task was cancelled: redis-py waits by `asyncio.wait_for`, which Python 3.11 may let a cancel vanish in."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
