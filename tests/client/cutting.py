"""A TCP proxy on the loopback, before a real server: it notes what is asked, and cuts connections where a test says so."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx2

RESET = struct.pack("ii", 1, 0)


@dataclass
class Rule:
    """Cuts a connection on which something like this is asked."""

    asked: bytes
    """Stands in the request's first line, such as `POST /v1/files`."""
    times: int
    answer_bytes: int | None = None
    """Let so many bytes of the answer through; None for all of the answer and none of the request's further body."""
    body_bytes: int | None = None
    """Let so many bytes of the request through."""


@dataclass
class Cutter:
    """The proxy."""

    url: str
    target: tuple[str, int]
    heads: list[bytes] = field(default_factory=list)
    """The heads of the requests, as they came."""
    rules: list[Rule] = field(default_factory=list)
    cuts: int = 0

    def cut(
        self, asked: str, *, times: int = 1, answer_bytes: int | None = None, body_bytes: int | None = None
    ) -> None:
        """Cut the next connections on which this is asked."""
        self.rules.append(Rule(asked.encode(), times, answer_bytes, body_bytes))

    def asked(self, words: str) -> list[bytes]:
        """The heads of the requests whose first line has these words."""
        return [head for head in self.heads if words.encode() in head.partition(b"\r\n")[0]]

    def serve(self, near: socket.socket) -> None:
        """Carry one connection until either side ends it, or a rule does."""
        far = socket.create_connection(self.target)
        state = _State()
        back = threading.Thread(target=self._back, args=(near, far, state))
        back.start()
        try:
            while data := near.recv(65_536):
                if data.split(b" ", 1)[0] in (b"GET", b"POST", b"PUT", b"DELETE"):
                    self.heads.append(data.partition(b"\r\n\r\n")[0])
                    self._judge(data.partition(b"\r\n")[0], state)
                if state.body_left is not None:
                    data, state.body_left = data[: state.body_left], state.body_left - len(data)
                far.sendall(data)
                if state.body_left is not None and state.body_left <= 0:
                    self._break(near, far)
                    break
        except OSError:
            pass  # cut, by us or by whoever hung up
        with suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)
        back.join()
        near.close()
        far.close()

    def _judge(self, line: bytes, state: _State) -> None:
        for rule in self.rules:
            if rule.times and rule.asked in line:
                rule.times -= 1
                state.answer_left, state.body_left = rule.answer_bytes, rule.body_bytes
                return
        state.answer_left = state.body_left = None

    def _back(self, near: socket.socket, far: socket.socket, state: _State) -> None:
        with suppress(OSError):
            while data := far.recv(65_536):
                if state.answer_left is not None:
                    data, state.answer_left = data[: state.answer_left], state.answer_left - len(data)
                near.sendall(data)
                if state.answer_left is not None and state.answer_left <= 0:
                    self._break(near, far)
                    return
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def _break(self, near: socket.socket, far: socket.socket) -> None:
        self.cuts += 1
        for end in (near, far):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class _State:
    answer_left: int | None = None
    body_left: int | None = None


@contextmanager
def cutting(url: str) -> Iterator[Cutter]:
    """A proxy before the server at `url`, which runs until the block ends."""
    parsed = httpx2.URL(url)
    with socket.create_server(("127.0.0.1", 0)) as server:
        cutter = Cutter(f"http://127.0.0.1:{server.getsockname()[1]}", (parsed.host, parsed.port or 80))
        carried: list[tuple[socket.socket, threading.Thread]] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = server.accept()
                    thread = threading.Thread(target=cutter.serve, args=(near,))
                    carried.append((near, thread))
                    thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield cutter
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
            for near, thread in carried:
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RDWR)
                thread.join(10)
