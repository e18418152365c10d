"""HTTP for the client: one pool of connections, errors of our tree, and patience where a second try is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from orchestrator.client.address import checked_key
from orchestrator.client.answers import error_of, found, object_of
from orchestrator.client.call import NOTHING, Call, Thing, get
from orchestrator.client.downloading import Download
from orchestrator.client.link import Link
from orchestrator.client.sending import Form, Source
from orchestrator.errors import Busy, Refused, ServiceUnavailable

CONNECT_S: Final = 5.0
FILES: Final = "/v1/files"


class Transport(Link):
    """Sends calls to one service."""

    def __init__(
        self, base_url: str, api_key: str, timeout_s: float, on_wait: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(base_url, timeout_s, CONNECT_S, on_wait)
        headers = {"Authorization": f"Bearer {checked_key(api_key)}"}
        self._http = httpx2.Client(base_url=self.base_url, headers=headers, follow_redirects=False)

    def call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None,
        key: str | None = None, again: bool = False,
    ) -> Thing:  # fmt: skip
        """Send the call that these make, and read its JSON."""
        return self.answer(Call(method, path, body=body, query=query or {}, key=key, again=again))

    def answer(self, call: Call) -> Thing:
        """Send a call and read its JSON; raises a RightsizeError with the remedy."""
        patience = self.patience(call)
        while True:
            try:
                return self.heard(found(self._send(call), self.base_url))
            except Busy as error:
                time.sleep(patience.pause_s(error))

    def attempt(self, call: Call) -> tuple[int, Thing]:
        """Send a call once, and give back status and JSON whatever the status."""
        response = self._send(call)
        return response.status_code, object_of(response)

    def listed(self, path: str, page: int, query: Mapping[str, Any] = NOTHING) -> Iterator[Thing]:
        """Every thing of a list, page by page."""
        after = None
        while True:
            told = self.answer(get(path, {**query, "after": after, "limit": page}))
            yield from told["data"]
            if not told["has_more"]:
                return
            after = told["last_id"]

    def upload(self, form: Form, source: Source) -> Thing:
        """Send a form whose file is read while it is sent; again from the file's start, where it can be read again."""
        patience, call = self.persistence(), Call("POST", FILES)
        while True:
            content, headers = form.around(source.pieces()), form.headers(source.size)
            try:
                with self.told():
                    response = self._http.post(FILES, content=content, headers=headers, timeout=self.timeout(call))
                return self.heard(found(response, self.base_url))
            except ServiceUnavailable as error:
                if not source.may_repeat:
                    raise
                time.sleep(patience.pause_s(error))

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes of a file in pieces; a lost connection is made again, and goes on with the next byte."""
        download, patience = Download(path), self.persistence()
        while not download.is_whole:
            try:
                with self.opened(download.call) as response:
                    download.begins(response.status_code, response.headers)
                    for piece in response.iter_raw():
                        patience.heard()
                        if new := download.took(piece):
                            yield new
                download.ended()
            except Refused as error:
                download.refused(error)
            except Busy as error:
                time.sleep(patience.pause_s(error))

    @contextmanager
    def opened(self, call: Call) -> Iterator[httpx2.Response]:
        """A response whose body is read while it comes; raises what the service refused."""
        with self.told(), self._http.stream(**call.arguments(), timeout=self.timeout(call)) as response:
            if response.status_code >= 400:
                response.read()
                raise error_of(response)
            self.heard({})
            yield response

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _send(self, call: Call) -> httpx2.Response:
        with self.told():
            return self._http.request(**call.arguments(), timeout=self.timeout(call))
