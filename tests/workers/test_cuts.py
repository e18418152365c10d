"""Cuts of jobs are heard over a real Redis, also after the connection was lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.broker import Broker
from orchestrator.contracts import CUT_CHANNEL
from orchestrator.settings import Settings
from tests.conftest import Servers
from workers import cuts
from workers.cuts import Cuts
from workers.streaming import connect

NAMES = [f"{number:032x}" for number in range(5)]


@pytest.fixture
def place(servers: Servers, tmp_path: Path) -> Settings:
    return Settings.load({"redis_url": servers.redis_url, "data_dir": tmp_path})


@pytest.fixture
def broker(place: Settings) -> Any:
    made = Broker(place)
    yield made
    made.close()


def listening(settings: Settings, body: Callable[[asyncio.Queue[str]], Awaitable[None]]) -> None:
    async def main() -> None:
        client, heard = connect(settings), asyncio.Queue[str]()
        task = asyncio.create_task(Cuts(client, heard.put).listen())
        try:
            await body(heard)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.aclose()

    asyncio.run(asyncio.wait_for(main(), 30))


async def heard_of(broker: Broker, heard: asyncio.Queue[str], name: str) -> None:
    """Cut until it is heard: whoever subscribes just now may miss the first."""
    while True:
        await asyncio.to_thread(broker.cut, name)
        try:
            while await asyncio.wait_for(heard.get(), 0.2) != name:
                pass
        except TimeoutError:
            continue
        return


def test_a_cut_is_heard_at_once_and_what_is_no_id_is_not(place: Settings, broker: Broker) -> None:
    async def body(heard: asyncio.Queue[str]) -> None:
        await heard_of(broker, heard, NAMES[0])
        for nonsense in ("", "x" * 32, "0" * 31, b"\xff" * 32, "0" * 33):
            broker.redis.publish(CUT_CHANNEL, nonsense)
        broker.cut(NAMES[1])
        assert await asyncio.wait_for(heard.get(), 1) == NAMES[1]
        assert heard.empty()

    listening(place, body)


def test_a_subscription_that_was_lost_is_made_anew(place: Settings, broker: Broker) -> None:
    async def body(heard: asyncio.Queue[str]) -> None:
        for name in NAMES[:3]:
            await heard_of(broker, heard, name)
            broker.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    listening(place, body)


def test_a_fault_in_one_cut_leaves_the_next_ones_heard(place: Settings, broker: Broker) -> None:
    async def body(_: asyncio.Queue[str]) -> None:
        client, heard = connect(place), asyncio.Queue[str]()

        async def stumble(name: str) -> None:
            await heard.put(name)
            raise RuntimeError("a fault of ours")

        task = asyncio.create_task(Cuts(client, stumble).listen())
        for name in NAMES[:3]:
            await heard_of(broker, heard, name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()

    listening(place, body)


def test_a_server_that_says_nothing_any_more_is_left_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "CALM_S", 0.05)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        deaf.setblocking(False)
        settings = Settings.load({"redis_url": f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", "data_dir": tmp_path})

        async def body(heard: asyncio.Queue[str]) -> None:
            loop = asyncio.get_running_loop()
            kept = [await loop.sock_accept(deaf) for _ in range(2)]  # it comes again, although nobody closed the first
            for connection, _ in kept:
                connection.close()

        listening(settings, body)


def test_a_server_that_falls_silent_after_the_subscription_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "CALM_S", 0.05)
    began = 0
    again = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes every command until the subscription, and says nothing from then on."""
        nonlocal began
        began += 1
        if began > 1:
            again.set()
        while data := await reader.read(4096):
            if b"SUBSCRIBE" in data:
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$13\r\nrightsize.cut\r\n:1\r\n")
            elif began and b"PING" not in data:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0?protocol=2"
        client = connect(Settings.load({"redis_url": url, "data_dir": tmp_path}))
        task = asyncio.create_task(Cuts(client, asyncio.Queue[str]().put).listen())
        await asyncio.wait_for(again.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()
        server.close()

    asyncio.run(main())
