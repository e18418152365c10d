"""HTTP for the client: one pooled connection, errors of our tree, and patience where a second try is safe."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx2
import orjson

from orchestrator.client.address import checked_key, checked_name, checked_url, network_error
from orchestrator.errors import Busy, InvalidRequest, NotFound, Refused, RightsizeError, ServiceUnavailable

TRIES: Final = 6
FIRST_PAUSE_S: Final = 0.2
MOST_PAUSE_S: Final = 10.0
SILENT_S: Final = 1.5
"""How long another try is waited for without a word."""
PASSING: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request may succeed."""


class Transport:
    """Sends requests to one service."""

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float, on_wait: Callable[[str], None] | None = None
    ) -> None:
        self.base_url = checked_url(base_url)
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._said_why = False
        self._http = httpx2.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {checked_key(api_key)}"},
            timeout=httpx2.Timeout(timeout_s, connect=5.0),
            follow_redirects=False,
        )

    def call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None,
        key: str | None = None, again: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Send a request and read its JSON; raises a RightsizeError with the remedy.

        `again` says that a second sending does no harm: a GET, or a POST with an idempotency key.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            headers["Idempotency-Key"] = checked_name(key)
        content = None if body is None else content_of(body)
        wanted = {name: value for name, value in (query or {}).items() if value is not None}
        began = time.monotonic()
        for left in reversed(range(TRIES if again else 1)):
            try:
                found = self._object(self._send(method, path, content=content, params=wanted, headers=headers))
                self._said_why = False
                return found
            except Busy as error:
                if left == 0 or time.monotonic() - began > self._timeout_s:
                    raise
                pause_s = _pause_s(TRIES - 1 - left, error.retry_after_s)
                if time.monotonic() + pause_s - began > SILENT_S:
                    self._say_why(error.message)
                time.sleep(pause_s)
        raise AssertionError

    def _say_why(self, message: str) -> None:
        """Say what another try is waited for, once until something is answered."""
        if self._on_wait is not None and not self._said_why:
            self._said_why = True
            self._on_wait(f"{message} Trying again.")

    def upload(self, path: str, data: Mapping[str, str], file: tuple[str, Any]) -> dict[str, Any]:
        """Send a form whose file is read by pieces while it is sent."""
        return self._object(self._send("POST", path, data=data, files={"file": file}))

    @contextmanager
    def reading(self, path: str) -> Iterator[httpx2.Response]:
        """A response whose body is read by pieces."""
        with self._told(), self._http.stream("GET", path) as response:
            if response.status_code >= 400:
                response.read()
                raise error_of(response)
            yield response

    def status(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a GET, whatever the status."""
        response = self._send("GET", path)
        return response.status_code, object_of(response)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _send(self, method: str, path: str, **given: Any) -> httpx2.Response:
        with self._told():
            return self._http.request(method, path, **given)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the network did wrong, in words of ours."""
        try:
            yield
        except httpx2.TransportError as error:
            raise network_error(self.base_url, error) from error

    def _object(self, response: httpx2.Response) -> dict[str, Any]:
        if response.status_code >= 400:
            raise error_of(response)
        found = object_of(response)
        if not found:
            raise ServiceUnavailable(f"{self.base_url} answered something that is not JSON. Is it a Rightsize service?")
        return found


def error_of(response: httpx2.Response) -> RightsizeError:
    """The error that a response tells of: of the class that raised it where that is known, otherwise by its status."""
    told = object_of(response).get("error")
    told = told if isinstance(told, dict) else {}
    message = str(told.get("message") or f"The service answered {response.status_code} to {response.request.url.path}.")
    param = told.get("param")
    kind = _KINDS.get(str(told.get("code")))
    if kind is None:
        kind = ServiceUnavailable if response.status_code in PASSING else RightsizeError
        if response.status_code < 500 and kind is RightsizeError:
            kind = NotFound if response.status_code == 404 else Refused
    if issubclass(kind, Busy):
        wait = response.headers.get("retry-after", "")
        return kind(message, retry_after_s=float(wait) if wait.isdigit() else FIRST_PAUSE_S)
    error: RightsizeError = RightsizeError.__new__(
        kind
    )  # some classes build their message themselves; this one is built already
    RightsizeError.__init__(error, message, param=param if isinstance(param, str) else None)
    return error


def content_of(body: Mapping[str, Any]) -> bytes:
    """A body as JSON; raises InvalidRequest for one that cannot be."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"The request cannot be sent as JSON ({error}): give text that is valid Unicode, and plain values."
        ) from error


def object_of(response: httpx2.Response) -> dict[str, Any]:
    """The JSON object of a response; empty where there is none."""
    try:
        found = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _pause_s(tries: int, asked_s: float) -> float:
    """A little longer each time, with jitter, and at least what the service asked for."""
    grown = FIRST_PAUSE_S * 2.0**tries * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
    return min(MOST_PAUSE_S, max(grown, asked_s))


def _known(kind: type[RightsizeError]) -> Iterator[tuple[str, type[RightsizeError]]]:
    yield kind.code, kind
    for child in kind.__subclasses__():
        if child.code != kind.code:  # a refinement of the server's own: callers know its parent
            yield from _known(child)


_KINDS: Final[Mapping[str, type[RightsizeError]]] = {
    **dict(_known(Busy)),
    **dict(_known(Refused)),
    InvalidRequest.code: InvalidRequest,
}
