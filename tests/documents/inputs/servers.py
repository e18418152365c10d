"""Web servers on the loopback that answer as they are told, and note what they were asked for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.webhooks.address import REFUSED_PORTS

Behave = Callable[[BaseHTTPRequestHandler], None]


@dataclass(slots=True)
class Web:
    """A server that runs."""

    port: int
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(behave: Behave, context: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server for as long as the block runs; over TLS with a context."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            web.headers.append({name.lower(): value for name, value in self.headers.items()})
            behave(self)

        def log_message(self, *_: object) -> None:
            """Nothing: tests read what was asked."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Nothing: clients hang up on servers that send too much."""

    server = Server(("127.0.0.1", 0), Handler)
    while server.server_port in REFUSED_PORTS:
        server.server_close()
        server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    web = Web(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Behave:
    """An answer with a body."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave
