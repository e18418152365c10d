"""One connection to a receiver: to a pinned address and nowhere else, with an end in time and in bytes.

The limits of an HTTP library are for each read, so that a receiver which sends a byte a second holds it for ever. Here every
read and write gets what is left of one deadline.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Self

import httpcore2

from orchestrator.webhooks.address import Pinned
from orchestrator.webhooks.networks import Address


class Line(httpcore2.NetworkStream):
    """A stream for httpcore2 that raises TimeoutError at its deadline, and ends after `most_bytes` have been read.

    All other faults are OSError, those of TLS the ssl.SSLError among them.
    """

    def __init__(self, connected: socket.socket, deadline: float, most_bytes: int) -> None:
        self._socket = connected
        self._deadline = deadline
        self._most_bytes = most_bytes
        self.read_bytes = 0

    @classmethod
    def to(cls, pinned: Pinned, deadline: float, most_bytes: int) -> Self:
        """Connect to the first of the pinned addresses that answers; each gets a fair part of the time."""
        for tried, address in enumerate(pinned.addresses, start=1):
            left_s = _left_s(deadline) / (len(pinned.addresses) - tried + 1)
            try:
                return cls(_connected(address, pinned.target.port, left_s), deadline, most_bytes)
            except OSError:
                if tried == len(pinned.addresses):
                    raise
        raise OSError("the host has no address")

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Speak TLS from here on, with whoever shows a certificate for `name`."""
        self._socket.settimeout(_left_s(self._deadline))
        self._socket = context.wrap_socket(self._socket, server_hostname=name)

    def hurry(self, within_s: float) -> None:
        """Bring the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + within_s)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # the deadline is nearer
        """What has come, up to `max_bytes`; nothing once the stream ended or its limit is reached."""
        if not (most_bytes := min(max_bytes, self._most_bytes - self.read_bytes)):
            return b""
        self._socket.settimeout(_left_s(self._deadline))
        came = self._socket.recv(most_bytes)
        self.read_bytes += len(came)
        return came

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send all of a buffer. Who closes early may have answered: httpcore2 reads on after its own WriteError."""
        rest = memoryview(buffer)
        try:
            while rest:
                self._socket.settimeout(_left_s(self._deadline))
                rest = rest[self._socket.send(rest) :]
        except TimeoutError:
            raise
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s


def _connected(address: Address, port: int, within_s: float) -> socket.socket:
    """A connected socket. The address goes in as it is: no name is looked up here, by anybody."""
    made = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        made.settimeout(within_s)
        made.connect((str(address), port))
    except BaseException:
        made.close()
        raise
    return made
