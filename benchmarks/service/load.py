"""The load generator, a process of its own: requests over HTTP in a closed loop, at fixed times, or as streams whose pieces are timed.

Reads one line of JSON for each run from standard input and answers with one. It shares the machine with what it measures, so it
must be cheap: one protocol on uvloop with httptools takes about 8 microseconds a request, where httpx2 takes a hundred times that.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import uvloop
from httptools import HttpResponseParser

MOST_CONNECTIONS: Final = 2_000
"""Of an open loop: what is not answered needs one each, and a service that has fallen so far behind will not catch up."""
TOLD_CHARS: Final = 500
TICK_S: Final = 0.0005
"""The loop's timers count whole milliseconds: what is due within half of one is due."""
WITHIN_S: Final = 120.0
"""How long the last answers of a run may take."""

now: Final = time.perf_counter


class Connection(asyncio.Protocol):
    """One connection that is kept, with one request on it at a time."""

    def __init__(self, request: bytes, ended: Callable[[Connection], None]) -> None:
        self._request, self._ended = request, ended
        self._parser = HttpResponseParser(self)
        self._asked = False
        self._parts: list[bytes] = []
        self.began = 0.0
        """On the clock `now`: when the request was sent, or should have been."""
        self.failure: str | None = None
        """Why what came was no answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def ask(self, began: float) -> None:
        """Send the request; latencies count from `began`."""
        self._asked, self.began = True, began
        self._parts.clear()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        good = status == 200 and self._is_whole()
        self._end(None if good else f"{status} {b''.join(self._parts)[:TOLD_CHARS].decode('utf-8', 'replace')}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked:
            self._end(f"the connection was closed ({exc})")

    def _is_whole(self) -> bool:
        return b'"choices"' in b"".join(self._parts)

    def _end(self, failure: str | None) -> None:
        self._asked, self.failure = False, failure
        self._ended(self)


class Stream(Connection):
    """A connection whose answers are streams of server-sent events, in OpenAI's form."""

    def ask(self, began: float) -> None:
        self.pieces: list[float] = []
        """Seconds from the request to each event with text in it."""
        self._rest, self._done = b"", False
        super().ask(began)

    def on_body(self, part: bytes) -> None:
        at = now() - self.began
        super().on_body(part)
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            name, _, value = line.strip().partition(b":")
            if name == b"data":
                self._event(value.strip(), at)

    def _event(self, value: bytes, at: float) -> None:
        if value == b"[DONE]":
            self._done = True
        elif any((choice.get("delta") or {}).get("content") for choice in orjson.loads(value).get("choices") or ()):
            self.pieces.append(at)

    def _is_whole(self) -> bool:
        return self._done and bool(self.pieces)


class Run:
    """What all runs share: connections to one address, the failures, and the end."""

    def __init__(self, asked: dict[str, Any], kind: type[Connection] = Connection) -> None:
        parts = urlsplit(asked["url"])
        assert parts.hostname
        assert parts.port
        self._host, self._port, self._kind = parts.hostname, parts.port, kind
        self._request = encoded(parts.netloc, parts.path, asked["headers"], asked["body"])
        self._all: list[Connection] = []
        self._over = asyncio.get_running_loop().create_future()
        self.failure: str | None = None
        self.latencies_s: list[float] = []

    async def connect(self, ended: Callable[[Connection], None]) -> Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: self._kind(self._request, ended), self._host, self._port)
        self._all.append(made)
        return made

    def failed(self, connection: Connection) -> bool:
        """Whether it failed; the first failure ends the run, since a figure with failures in it says nothing."""
        if connection.failure is None:
            return False
        self.fail(connection.failure)
        return True

    def fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.end()

    def end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def over(self, within_s: float) -> None:
        """Wait for the end, then close everything."""
        try:
            await asyncio.wait_for(asyncio.shield(self._over), within_s)
        except TimeoutError:
            self.fail(f"answers were still missing after {within_s:g} s")
        for connection in self._all:
            connection.transport.abort()

    def told(self, **more: object) -> dict[str, object]:
        latencies_us = [round(1e6 * one) for one in self.latencies_s]
        return {"failure": self.failure, "latencies_us": latencies_us, **more}


async def closed(asked: dict[str, Any]) -> dict[str, object]:
    """`clients` callers, each with its next request as soon as the last is answered, for `seconds`."""
    run = Run(asked)
    left = asked["clients"]

    def ended(connection: Connection) -> None:
        nonlocal left
        at = now()
        if not run.failed(connection) and at <= until:
            run.latencies_s.append(at - connection.began)
            connection.ask(at)
            return
        left -= 1
        if not left:
            run.end()

    clients = [await run.connect(ended) for _ in range(left)]
    until = now() + asked["seconds"]
    for client in clients:
        client.ask(now())
    await run.over(asked["seconds"] + WITHIN_S)
    return run.told()


async def timed(asked: dict[str, Any]) -> dict[str, object]:
    """An open loop: `rate` requests a second for `seconds`, each at its time whatever became of those before.

    A latency counts from the time when the request was due: a service that is late is not asked more gently for it.
    """
    run = Run(asked)
    count, free = max(1, int(asked["rate"] * asked["seconds"])), list[Connection]()
    left, late_us = count, list[int]()

    def ended(connection: Connection) -> None:
        nonlocal left
        if not run.failed(connection):
            run.latencies_s.append(now() - connection.began)
            free.append(connection)
        left -= 1
        if not left:
            run.end()

    free += [await run.connect(ended) for _ in range(asked["clients"])]
    made, start = len(free), now() + 0.05
    for number in range(count):
        due = start + number / asked["rate"]
        await wait_until(due)
        if not free and made < MOST_CONNECTIONS:
            free.append(await run.connect(ended))
            made += 1
        at = now()
        late_us.append(max(0, round(1e6 * (at - due))))
        if not free:
            run.fail(f"{count - number} requests were not sent: {made} wait for their answers")
        if run.failure:
            break
        free.pop().ask(min(due, at))
    await run.over(WITHIN_S)
    return run.told(late_us=late_us, connections=made)


async def wait_until(due: float) -> None:
    """Wait until a time on the clock `now`; where it has passed, let the loop read answers all the same."""
    await asyncio.sleep(max(0.0, due - now()))
    if (early_s := due - now()) > TICK_S:
        await wait_until(now() + early_s)


async def streams(asked: dict[str, Any]) -> dict[str, object]:
    """`clients` callers at once, each with `each` streams one after another; tells when each piece of each stream came.

    Callers begin one after another within `spread_s`, so that streams of equal length do not all begin together for ever.
    """
    run = Run(asked, Stream)
    left, pieces_us = asked["clients"] * asked["each"], list[Sequence[int]]()
    waiting = left - asked["clients"]

    def ended(connection: Connection) -> None:
        nonlocal left, waiting
        assert isinstance(connection, Stream)
        at = now()
        if not run.failed(connection):
            run.latencies_s.append(at - connection.began)
            pieces_us.append([round(1e6 * one) for one in connection.pieces])
            if waiting:
                waiting -= 1
                connection.ask(at)
        left -= 1
        if not left:
            run.end()

    for client in [await run.connect(ended) for _ in range(asked["clients"])]:
        client.ask(now())
        await asyncio.sleep(asked["spread_s"] / asked["clients"])
    await run.over(WITHIN_S)
    return run.told(pieces_us=pieces_us)


def encoded(host: str, path: str, headers: dict[str, str], body: object) -> bytes:
    """A request, ready to be sent."""
    content = orjson.dumps(body)
    fixed = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fixed, **headers}.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


RUNS: Final = {"closed": closed, "timed": timed, "streams": streams}


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        before = time.process_time()
        told = uvloop.run(RUNS[asked["run"]](asked))
        print(json.dumps({**told, "cpu_s": time.process_time() - before}), flush=True)


if __name__ == "__main__":
    main()
