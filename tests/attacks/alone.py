"""The API as a process of its own, watched from outside while it is attacked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx2
import psutil

from tests.serving import Api, make_key
from tests.stack import Stack, until

MIB = 1024 * 1024
SERVE = """
from orchestrator.api import server
from orchestrator.settings import Settings
server.run(Settings.load(), "127.0.0.1", {port})
"""


@dataclass(frozen=True, slots=True)
class Alone:
    """A running API, and its process."""

    api: Api
    process: psutil.Process
    log: Path


@contextmanager
def serve_alone(stack: Stack) -> Iterator[Alone]:
    """Serve the API over a stack in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ready = stack.settings.data_dir / f"api-{port}.ready"
    process = stack.start(SERVE.format(port=port), "api", env={"RIGHTSIZE_READY_FILE": str(ready)})
    until(ready.exists, 30, "the API is up")
    url, key = f"http://127.0.0.1:{port}", make_key(stack.settings)
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as http:
        yield Alone(Api(url, key, stack, http), psutil.Process(process.pid), stack.logs[process.pid])
    process.terminate()
    process.wait(20)


class Grown:
    """How much a process grew at most while the block ran, looked at a hundred times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.mib = 0.0

    def __enter__(self) -> Self:
        self._before = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._look()

    def _look(self) -> None:
        self.mib = max(self.mib, (self._process.memory_info().rss - self._before) / MIB)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where the block takes longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"it took {took:.1f} s, over {seconds} s"


def connect(api: Api) -> socket.socket:
    """A bare connection."""
    host, port = api.url.removeprefix("http://").split(":")
    link = socket.create_connection((host, int(port)))
    link.settimeout(30)
    return link


def head(api: Api, method: str, path: str, *headers: str) -> bytes:
    """The head of a request with the key in it; `headers` are whole lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {api.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answer(link: socket.socket, within_s: float = 10.0) -> bytes:
    """What comes first; nothing where the server hangs up."""
    link.settimeout(within_s)
    try:
        return link.recv(100_000)
    except ConnectionError:
        return b""


def is_closed(link: socket.socket, within_s: float) -> bool:
    """Whether the server hangs up in time, whatever it still says before."""
    end = time.monotonic() + within_s
    try:
        while (left := end - time.monotonic()) > 0:
            link.settimeout(left)
            if not link.recv(100_000):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False
