"""Several streams as one: each item as soon as it comes, whichever stream it is from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")
_AHEAD: Final = 64
"""Items that wait to be taken, at most: whoever is slow holds the streams up, and gathers nothing."""


async def merged(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all streams, of each in its order. The first fault ends all of them, and so does closing this one."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for one in only:
                yield one
        return
    items: asyncio.Queue[T | _Ended] = asyncio.Queue(_AHEAD)
    tasks = [asyncio.create_task(_read(stream, items)) for stream in streams]
    try:
        left = len(tasks)
        while left:
            item = await items.get()
            if not isinstance(item, _Ended):
                yield item
                continue
            left -= 1
            if item.fault is not None:
                raise item.fault
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Ended:
    """Said once of each stream."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault


async def _read(stream: AsyncGenerator[T, None], items: asyncio.Queue[T | _Ended]) -> None:
    try:
        async with aclosing(stream):
            async for item in stream:
                await items.put(item)
    except Exception as fault:
        await items.put(_Ended(fault))
    else:
        await items.put(_Ended())
