"""Sends one message to one receiver, once: checked, signed, bounded, and never anywhere else."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpcore2
import httpx2

from orchestrator import __version__
from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.webhooks.address import Pinned, Target, checked_url, lookup, pinned
from orchestrator.webhooks.line import Line
from orchestrator.webhooks.networks import Networks
from orchestrator.webhooks.sign import signed_headers

MOST_ANSWER_BYTES: Final = 64 * 1024
"""Of an answer, with its headers. Nothing but its status and `Retry-After` is looked at."""
GOODBYE_S: Final = 1.0
"""How long the rest of an answer is read, so that the receiver is not cut off in the middle of it."""
MOST_RETRY_AFTER_S: Final = 3600.0
DELIVERED: Final = "delivered"
_FAULTS: Final = (OSError, httpcore2.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one attempt.

    Codes: `delivered`, or what it failed by: `address_refused`, `name_unknown`, `name_unanswered`, `connect_failed`,
    `tls_failed`, `timeout`, `disconnected`, `bad_answer`, `redirect`, `status_NNN`.
    """

    code: str
    detail: str
    """One sentence for whoever runs the receiver. It quotes neither URL nor secret nor answer."""
    http_status: int | None = None
    retry_after_s: float | None = None
    """What a receiver that is busy (429, 503) asked for, an hour at most."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took the message (2xx)."""
        return self.code == DELIVERED

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more messages at all (410): its endpoint is to be disabled."""
        return self.http_status == HTTPStatus.GONE


class Sender:
    """Sends messages to receivers. Safe to share between threads: each send has a connection of its own.

    The certificates of the system are trusted, or those of SSL_CERT_FILE. No proxy is used: what a proxy would connect to
    could not be pinned.
    """

    def __init__(self, allowed: Networks = (), timeout_s: float = 10.0) -> None:
        self._allowed = tuple(allowed)
        self._timeout_s = timeout_s
        self._context = httpx2.create_ssl_context()
        self._context.set_alpn_protocols(["http/1.1"])

    def send(self, url: str, secrets: Sequence[str], message_id: str, payload: bytes) -> Delivery:
        """Send a payload, and say what became of it within `timeout_s`. Whatever a receiver does is a Delivery.

        `secrets`, newest first, each sign it. Raises Broken for a secret that cannot sign: that is a fault of ours.
        """
        deadline = time.monotonic() + self._timeout_s
        headers = signed_headers(secrets, message_id, payload, datetime.now(UTC))
        found = self._pinned(url)
        if isinstance(found, Delivery):
            return found
        try:
            line = Line.to(found, deadline, MOST_ANSWER_BYTES)
        except TimeoutError:
            return Delivery("timeout", f"The receiver took no connection within {self._timeout_s:g} seconds.")
        except OSError as error:
            return Delivery("connect_failed", f"The receiver cannot be reached: {error.strerror or 'no connection'}.")
        with closing(line):
            return self._secured(line, found.target) or self._exchanged(line, found.target, headers, payload)

    def _pinned(self, url: str) -> Pinned | Delivery:
        """Where to connect, checked anew for every send: what a name stands for changes."""
        try:
            target = checked_url(url, self._allowed)
        except InvalidRequest as error:
            return Delivery("address_refused", error.message)
        try:
            addresses = lookup(target, self._timeout_s / 2)
        except InvalidRequest as error:
            return Delivery("name_unknown", error.message)
        except ServiceUnavailable as error:
            return Delivery("name_unanswered", error.message)
        try:
            return pinned(target, addresses, self._allowed)
        except InvalidRequest as error:
            return Delivery("address_refused", error.message)

    def _secured(self, line: Line, target: Target) -> Delivery | None:
        """Speak TLS where the URL says so; None when that went well."""
        if target.scheme != "https":
            return None
        try:
            line.secure(self._context, target.host)
        except TimeoutError:
            return Delivery("timeout", f"TLS was not agreed on within {self._timeout_s:g} seconds.")
        except ssl.SSLCertVerificationError as error:
            return Delivery(
                "tls_failed", f"The receiver's certificate is not trusted: {error.verify_message.rstrip('.')}."
            )
        except OSError:
            return Delivery("tls_failed", "The receiver does not speak TLS as we do: it needs TLS 1.2 or later.")
        return None

    def _exchanged(self, line: Line, target: Target, headers: dict[str, str], payload: bytes) -> Delivery:
        """Ask, and judge the answer by its status: the body is read out of courtesy alone."""
        request = _request(target, headers, payload)
        try:
            response = httpcore2.HTTP11Connection(request.url.origin, line).handle_request(request)
        except TimeoutError:
            return Delivery("timeout", f"The receiver gave no answer within {self._timeout_s:g} seconds.")
        except _FAULTS:
            if line.read_bytes:
                return Delivery("bad_answer", "The receiver's answer is not one of HTTP, or is too large.")
            return Delivery("disconnected", "The receiver closed the connection without an answer.")
        line.hurry(GOODBYE_S)
        # The answer stands by its status; how its body ends, or whether it does, changes nothing.
        with suppress(*_FAULTS):
            for _ in response.iter_stream():
                pass
        return judged(response.status, _header(response, b"retry-after"))


def judged(status: int, retry_after: str | None = None) -> Delivery:
    """What an answer means."""
    if 200 <= status <= 299:
        return Delivery(DELIVERED, f"The receiver took the message ({status}).", status)
    if 300 <= status <= 399:
        detail = f"The receiver redirects ({status}), which is never followed: register the address that it leads to."
        return Delivery("redirect", detail, status)
    detail = f"The receiver answered with status {status}."
    if status == HTTPStatus.GONE:
        detail = "The receiver answered with status 410: it wants no more messages."
    busy = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return Delivery(f"status_{status}", detail, status, _pause_s(retry_after) if busy and retry_after else None)


def _request(target: Target, headers: dict[str, str], payload: bytes) -> httpcore2.Request:
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    fields = {
        "host": target.authority,
        "user-agent": f"Rightsize/{__version__}",
        "content-type": "application/json",
        "content-length": str(len(payload)),
        "connection": "close",
        **headers,
    }
    lines = [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
    return httpcore2.Request("POST", url, headers=lines, content=payload)


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


def _pause_s(retry_after: str) -> float | None:
    """Seconds from a `Retry-After`, which names seconds or a moment (RFC 9110, 10.2.3); None for anything else."""
    try:
        pause_s = float(retry_after)
    except ValueError:
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        pause_s = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(pause_s, 0.0), MOST_RETRY_AFTER_S) if math.isfinite(pause_s) else None
