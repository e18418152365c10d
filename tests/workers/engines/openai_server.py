"""A server that speaks OpenAI's protocol over real sockets, and misbehaves in the way that its address names.

`server.address("good")` answers well; `server.address("status-429-after-7")` refuses with a Retry-After; the rest stands in
`openai_behaviours.py`. What it says of itself (`/v1/models`, `/metrics`) is good unless `listing` or `metrics` is set.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

from tests.workers.engines.openai_behaviours import BEHAVIOURS, Exchange


class OpenAIServer:
    """Serves on a free port of the loopback for as long as its block lasts, and keeps what it was asked."""

    def __init__(self, port: int = 0, behaviour: str = "") -> None:
        self.port = port
        self.behaviour = behaviour
        """How it behaves whatever the address names."""
        self.listing: object = {"object": "list", "data": []}
        self.metrics: bytes | None = None
        """The page of its metrics; None where it has none."""
        self.frozen = False
        """Whether it takes connections and answers nothing at all."""
        self.asked: Counter[str] = Counter()
        """Questions about itself, by path."""
        self.exchanges: list[Exchange] = []
        self.open = 0
        self.connections = 0
        self.arrived = asyncio.Event()
        self._seen: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    def address(self, behaviour: str = "good") -> str:
        """The base URL under which the server behaves like that."""
        return f"http://127.0.0.1:{self.port}/{behaviour}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_closed(self, within_s: float = 5.0) -> None:
        """Wait until the callers have closed all connections on which they sent requests to the model."""
        await asyncio.wait_for(self._idle.wait(), within_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        works = False
        try:
            async with _watched(reader) as requests:
                async for head, data in requests:
                    if not works and not head.startswith(b"GET "):
                        works = True
                        self.open += 1
                        self.connections += 1
                        self._idle.clear()
                    await self._answer(head, data, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller went away, or the behaviour wants it so
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self.open -= works
            self._tasks.discard(task)
            writer.close()
            if not self.open:
                self._idle.set()

    async def _answer(self, head: bytes, data: bytes, writer: asyncio.StreamWriter) -> None:
        first, *rows = head.decode("latin-1").split("\r\n")
        behaviour, _, rest = first.split(" ")[1].lstrip("/").partition("/")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows if row)}
        exchange = Exchange(f"/{rest}", behaviour, headers, json.loads(data or b"{}"), writer)
        if self.frozen:
            await asyncio.Event().wait()
        if first.startswith("GET "):
            await self._tell(exchange)
            return
        behaviour = self.behaviour or behaviour
        name, *arguments = behaviour.split("-")
        self._seen[behaviour] += 1
        if name == "flaky":
            arguments.append(str(self._seen[behaviour]))
        self.exchanges.append(exchange)
        self.arrived.set()
        await BEHAVIOURS[name](exchange, *arguments)

    async def _tell(self, exchange: Exchange) -> None:
        """What it says of itself."""
        self.asked[exchange.path] += 1
        if exchange.path == "/v1/models":
            await exchange.whole(self.listing)
        elif self.metrics is None:
            await exchange.whole({"detail": "Not Found"}, 404)
        else:
            await exchange.whole(self.metrics)


@asynccontextmanager
async def _watched(reader: asyncio.StreamReader) -> AsyncIterator[AsyncIterator[tuple[bytes, bytes]]]:
    """The requests of one connection; the block is cancelled with ConnectionError when the caller goes away."""
    queue: asyncio.Queue[tuple[bytes, bytes] | None] = asyncio.Queue()
    owner = asyncio.current_task()
    assert owner is not None
    gone = False

    async def pump() -> None:
        nonlocal gone
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = await reader.readexactly(1)
                if first == b"\x16":  # the caller begins TLS, which this server does not speak
                    break
                head = first + await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(r.split(b":")[1]) for r in head.lower().split(b"\r\n") if r.startswith(b"content-length")), 0
                )
                await queue.put((head, await reader.readexactly(length)))
        gone = True
        owner.cancel()

    async def requests() -> AsyncIterator[tuple[bytes, bytes]]:
        while (item := await queue.get()) is not None:
            yield item

    pumping = asyncio.create_task(pump())
    try:
        yield requests()
    except asyncio.CancelledError:
        if not gone:
            raise
        owner.uncancel()
        raise ConnectionError from None
    finally:
        pumping.cancel()


@contextmanager
def in_thread() -> Iterator[OpenAIServer]:
    """The server on a thread of its own, for callers in other processes."""
    started: threading.Event = threading.Event()
    held: dict[str, Any] = {}

    async def serve() -> None:
        held["stop"] = asyncio.Event()
        held["loop"] = asyncio.get_running_loop()
        async with OpenAIServer() as held["server"]:
            started.set()
            await held["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield held["server"]
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join(10)
