"""Several streams as one: nothing is lost, nothing is mixed up, and whoever leaves ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from workers.engines.merged import merged

Item = tuple[str, int]


class Streams:
    """Makes streams, and counts those that have ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def counting(self, name: str, most: int, fault: Exception | None = None) -> AsyncGenerator[Item, None]:
        try:
            for number in range(most):
                await asyncio.sleep(0)
                yield name, number
            if fault is not None:
                raise fault
        finally:
            self.ended.append(name)


def run(body: Callable[[Streams], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(Streams()), 10))


@pytest.mark.parametrize("names", ["a", "abc"])
def test_each_stream_keeps_its_order_and_all_items_come(names: str) -> None:
    async def body(streams: Streams) -> None:
        items = [item async for item in merged([streams.counting(name, 200) for name in names])]
        assert len(items) == 200 * len(names)
        for name in names:
            assert [number for of, number in items if of == name] == list(range(200))
        assert sorted(streams.ended) == sorted(names)

    run(body)


def test_streams_go_on_beside_each_other() -> None:
    async def body(streams: Streams) -> None:
        items = [name async for name, _ in merged([streams.counting("a", 20), streams.counting("b", 20)])]
        assert "b" in items[:20]
        assert "a" in items[20:]

    run(body)


def test_a_fault_in_one_ends_all_of_them() -> None:
    async def body(streams: Streams) -> None:
        faulty = streams.counting("a", 3, ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            async for _ in merged([faulty, streams.counting("b", 100_000)]):
                pass
        assert sorted(streams.ended) == ["a", "b"]

    run(body)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_leaving_ends_all_of_them(names: str) -> None:
    async def body(streams: Streams) -> None:
        async with aclosing(merged([streams.counting(name, 100_000) for name in names])) as items:
            async for _, number in items:
                if number == 5:
                    break
        assert sorted(streams.ended) == sorted(names)

    run(body)


def test_a_reader_that_is_cancelled_ends_all_of_them() -> None:
    async def body(streams: Streams) -> None:
        async def read() -> None:
            async for _ in merged([streams.counting("a", 100_000), streams.counting("b", 100_000)]):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(streams.ended) == ["a", "b"]

    run(body)


def test_a_reader_that_is_slow_holds_the_streams_up() -> None:
    async def body(streams: Streams) -> None:
        made = 0

        async def many() -> AsyncGenerator[int, None]:
            nonlocal made
            for made in range(100_000):
                yield made

        async with aclosing(merged([many(), many()])) as items:
            await anext(items)
            await asyncio.sleep(0.02)
            assert made < 200

    run(body)
