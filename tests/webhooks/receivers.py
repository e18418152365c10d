"""Receivers of webhooks on the loopback, well-behaved and not; names; and a watch on what this process tries to connect to."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

import openai

from orchestrator.contracts import BatchStatus
from orchestrator.webhooks import events
from orchestrator.webhooks.address import REFUSED_PORTS
from orchestrator.webhooks.sign import new_secret

OWN = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SECRET = new_secret()
PAYLOAD = events.batch_ended("evt_1", 1_700_000_000, "batch_1", BatchStatus.COMPLETED)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

Behaviour = Callable[[socket.socket, threading.Event], None]
"""What a receiver does with a connection; the event is set when the test is over."""
_WATCHED: Final = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.sendto": 1}
"""Events of the interpreter, with the place of the address among their arguments."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """A receiver that runs."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    names: list[str] = field(default_factory=list)
    """What TLS clients asked for by SNI."""


@dataclass(slots=True)
class Watch:
    """What the sender tried while the watch was on."""

    connected: list[Any] = field(default_factory=list)
    looked_up: list[Any] = field(default_factory=list)


_watch: Watch | None = None


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    watch = _watch
    if watch is None or event not in _WATCHED:
        return
    # Threads of the receivers, and of whatever other tests left behind, are not the sender's.
    if threading.current_thread() is threading.main_thread() or threading.current_thread().name == "webhook-lookup":
        tried = watch.looked_up if event == "socket.getaddrinfo" else watch.connected
        tried.append(arguments[_WATCHED[event]])


# An audit hook sees every connect of the interpreter, by whatever library. It cannot be removed: it sleeps between tests.
sys.addaudithook(_on_event)


@contextmanager
def watching() -> Iterator[Watch]:
    """Everything that the sender connects to or looks up within the block."""
    global _watch  # noqa: PLW0603  # the hook is one for the whole interpreter
    _watch = watch = Watch()
    try:
        yield watch
    finally:
        _watch = None


@contextmanager
def receiving(
    behave: Behaviour | bytes = OK,
    host: str = "127.0.0.1",
    port: int = 0,
    context: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A receiver that reads each request and gives one answer, or behaves in its own way."""
    over, threads = threading.Event(), []
    with _listening(host, port) as listening:
        made = Receiver(listening.getsockname()[1])
        if context:
            context.sni_callback = lambda _sock, name, _context: made.names.append(name)

        def one(caller: socket.socket) -> None:
            with caller, suppress(OSError):  # who mistrusts us, or has had enough, hangs up
                caller.settimeout(10)
                secured = context.wrap_socket(caller, server_side=True) if context else caller
                with secured:
                    if callable(behave):
                        behave(secured, over)
                    else:
                        made.asked.append(read_request(secured))
                        secured.sendall(behave)

        def serve() -> None:
            with suppress(OSError):  # raised by the shutdown below
                while True:
                    caller, _ = listening.accept()
                    made.connections += 1
                    threads.append(threading.Thread(target=one, args=(caller,)))
                    threads[-1].start()

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        try:
            yield made
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(15)
                assert not thread.is_alive()


def _listening(host: str, port: int) -> socket.socket:
    while True:
        made = socket.create_server((host, port))
        if made.getsockname()[1] not in REFUSED_PORTS:
            return made
        made.close()


def read_request(caller: socket.socket) -> Asked:
    """One request, head and body."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += _some(caller)
    head, _, body = came.partition(b"\r\n\r\n")
    line, *rest = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)}
    while len(body) < int(headers["content-length"]):
        body += _some(caller)
    return Asked(line, headers, body)


def _some(caller: socket.socket) -> bytes:
    if not (data := caller.recv(65536)):
        raise ConnectionError("the sender hung up")
    return data


def entries(addresses: Sequence[str], port: int = 443) -> list[Any]:
    """What getaddrinfo returns for them."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
        if ":" in text
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
        for text in addresses
    ]


def names(
    known: dict[str, Sequence[str]], asked: list[str] | None = None, fault: int = socket.EAI_NONAME
) -> Callable[..., list[Any]]:
    """A getaddrinfo that knows these names and no others; addresses are read as they always are."""
    real = socket.getaddrinfo

    def answer(host: str, port: int, **how: Any) -> list[Any]:
        if how.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, port, **how)
        if asked is not None:
            asked.append(host)
        if host not in known:
            raise socket.gaierror(fault, "no answer")
        return entries(known[host], port)

    return answer


def unwrapped(asked: Asked, secret: str = SECRET) -> object:
    """A request as the official client reads it; raises where its signature is not right."""
    with openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1") as client:
        return client.webhooks.unwrap(asked.body, asked.headers, secret=secret)
