"""The API's process: one uvicorn server on uvloop and httptools."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator import heap, pulse
from orchestrator.api.app import create_app
from orchestrator.api.serving import CONNECTIONS
from orchestrator.errors import InvalidConfig
from orchestrator.flow.context import open_context
from orchestrator.patience import START_S
from orchestrator.settings import Settings
from orchestrator.telemetry import configure, log

HEAD_WITHIN_S: Final = 15.0
"""How long a client may take over a request's line and headers."""
MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a head, and of the headers behind a body."""
MOST_PIPELINED: Final = 100
"""Requests of one connection that wait for the one before them: each takes fifty times its bytes."""
DRAIN_WITHIN_S: Final = 5.0
"""How long a body that is not read any more is taken in."""
BACKLOG: Final = 1024


class Patience(HttpToolsProtocol):
    """uvicorn's protocol, with bounds that it lacks: on a request's head, on what follows its body, and on a body that nobody reads."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head, self._in_message = True, False
        self._timer = self.loop.call_later(HEAD_WITHIN_S, transport.close)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self.transport.close()
        if self._is_idle() and self._timer.cancelled():  # empty lines, which begin no request
            self._close_after(HEAD_WITHIN_S)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._close_after(HEAD_WITHIN_S)
        self._in_head, self._in_message, self._head_bytes = True, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._timer.cancel()
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came; one behind the body is dropped: nothing that was checked may change afterwards."""
        if self._in_head:
            super().on_header(name, value)
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MOST_HEAD_BYTES:
            self.transport.close()

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._in_message = False
        self._timer.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered; what is left of a body that was refused is taken for a while, so that the answer arrives."""
        super().on_response_complete()
        if self.pipeline:  # one after the other: what waits is only read once it has its turn
            self.flow.pause_reading()
        if self._in_message and self.cycle.response_complete and not self.transport.is_closing():
            self._close_after(DRAIN_WITHIN_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Whether no request is under way."""
        cycle: Any = self.cycle  # none before the first request, whatever uvicorn's types say
        return not self._in_message and (cycle is None or cycle.response_complete)

    def _close_after(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.close)


class Server(uvicorn.Server):
    """Says when it is up, and ends in order on a signal: uvicorn's own raises the signal again when it is done."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal.signal calls it
        """Stop after what runs; a second Ctrl-C does not wait for it."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests and wait for those that run."""
        log("stopping", part="api", pid=os.getpid())
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then tell the local supervisor, if there is one."""
        await super().startup(sockets)
        pulse.beat(self._settings)
        log("started", part="api", pid=os.getpid())


def run(settings: Settings, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, then let what runs end within `stop_within_s`.

    Raises InvalidConfig for a port in use, an old schema or a broker that evicts, ServiceUnavailable for servers that are away.
    """
    configure(settings.log_level, settings.log_format)
    pulse.begin(settings)
    listening = listen(host, port)
    try:
        context = open_context(settings, "app", connections=CONNECTIONS, wait_s=START_S)
        try:
            context.broker.wait_until_up(START_S)
            app = create_app(context)
            heap.freeze()
            Server(config(app, settings), settings).run(sockets=[listening])
        finally:
            context.close()
    finally:
        listening.close()
    log("stopped", part="api", pid=os.getpid())


def config(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs; logging is ours alone."""
    return uvicorn.Config(
        app,
        http=Patience,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.stop_within_s)),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises InvalidConfig for an address that cannot be had."""
    if not 0 <= port <= 65_535:
        raise InvalidConfig(f"--port must lie between 0 and 65535; it is {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} of {host} is in use by another program. Give --port another one."
        elif error.errno == errno.EACCES:
            message = f"Port {port} of {host} may not be opened by this user. Give --port one above 1023."
        else:
            message = f"Cannot listen on {host}:{port}: {error.strerror}. Check --host and --port."
        raise InvalidConfig(message) from error
