"""Documents by URL: of hosts that were named, over connections that somebody else makes and checks.

This room knows neither sockets nor addresses: what connects is handed in, and must connect to public addresses only, to each
one that it checked and to no other. Here is judged whose URLs are asked for at all, also those that an answer leads to.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol

import httpx2

from orchestrator.documents.files import open_regular
from orchestrator.documents.inputs.document import Input, refused, too_large
from orchestrator.documents.inputs.spool import MOST_BYTES, Fetched, Spool
from orchestrator.documents.lines import MIB, Unfit
from orchestrator.documents.newlines import lines_of
from orchestrator.documents.packed.archives import safe_name
from orchestrator.errors import InvalidRequest, RightsizeError

MOST_REDIRECTS: Final = 3
WITHIN_S: Final = 120.0
"""For one document, all redirects included."""
MOST_ANSWER_BYTES: Final = MOST_BYTES + MIB
"""Of an answer with its headers: what is too large must be seen to be."""
MOST_URL_BYTES: Final = 2048
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Answer(Protocol):
    """What a server answers."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    def header(self, name: str) -> str | None:
        """A header by its name in lower case."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises RightsizeError where it breaks off."""
        ...


class Get(Protocol):
    """What asks for one URL, once: `webhooks.fetch.Fetcher`. It follows no redirect, and connects to no address that it did not check."""

    def __call__(self, url: str, deadline: float, most_bytes: int) -> AbstractContextManager[Answer]:
        """The answer, until a moment of the monotonic clock; raises RightsizeError, with a remedy that quotes no URL."""
        ...


def checked(url: str, hosts: tuple[str, ...]) -> httpx2.URL:
    """A URL that may be asked for; raises InvalidRequest, which never quotes more of it than its host."""
    if len(url) > MOST_URL_BYTES:
        raise InvalidRequest(f"A URL may have at most {MOST_URL_BYTES:,} characters. Shorten it.")
    try:
        found = httpx2.URL(url.strip())
        host = _plain(found.raw_host.decode("ascii"))
    except (httpx2.InvalidURL, ValueError):  # its own words quote the URL, which may hold a token
        raise InvalidRequest("The URL cannot be read. It looks like https://example.com/invoice.pdf.") from None
    if found.scheme not in {"http", "https"} or not host:
        raise InvalidRequest("The URL must begin with https:// or http:// and a host. Give it one.")
    if found.userinfo:
        raise InvalidRequest(
            "The URL must hold no user and no password. Fetch such a document yourself, and submit its file."
        )
    if not any(_admits(one, host) for one in hosts):
        raise InvalidRequest(f"URLs of the host {host[:200]!r} are not fetched. Allow it by its name, or submit files.")
    return found.copy_with(fragment=None)


def check_hosts(hosts: tuple[str, ...]) -> None:
    """Raise InvalidRequest for an entry of the list of hosts that can admit none."""
    for one in hosts:
        name = one.removeprefix("*.")
        if not name or not set(name).isdisjoint("*/@: \t\n") or not _ascii(name):
            raise InvalidRequest(
                f"{one[:200]!r} is no name of a host. Write example.com, or *.example.com for all below it."
            )


def from_url(url: str, hosts: tuple[str, ...], get: Get, spool: Spool) -> Input:
    """The document at a URL, fetched when it is opened first. Raises InvalidRequest as `checked`."""
    found = checked(url, hosts)
    fetched = Fetched(spool, partial(_pieces, found, hosts, get))
    return Input(safe_name(f"{found.host}{found.path}"), fetched.open, done=fetched.done)


def from_list(path: Path, hosts: tuple[str, ...], get: Get, spool: Spool) -> Iterator[Input]:
    """The documents at the URLs of a file, one a line; blank lines, and those that begin with `#`, are none."""
    is_empty = True
    try:
        with open_regular(path, follow=True) as stream:
            for line in lines_of(stream, MOST_URL_BYTES):
                text = line.data.decode("utf-8", "replace").strip()
                if line.too_long or (text and not text.startswith("#")):
                    is_empty = False
                    yield _listed(text or "x" * line.too_long, f"{path.name}#{line.number}", hosts, get, spool)
    except Unfit as unfit:
        yield refused(path.name, unfit)
        return
    if is_empty:
        yield refused(path.name, Unfit("empty_file", "The file has no URLs. Give it one on each line."))


def _listed(url: str, place: str, hosts: tuple[str, ...], get: Get, spool: Spool) -> Input:
    try:
        return from_url(url, hosts, get, spool)
    except InvalidRequest as error:
        return refused(place, Unfit("unreadable_file", error.message))


def _pieces(url: httpx2.URL, hosts: tuple[str, ...], get: Get) -> Generator[bytes, None, None]:
    """The bytes of a document; raises Unfit."""
    deadline = time.monotonic() + WITHIN_S
    try:
        for _ in range(MOST_REDIRECTS + 1):
            with get(str(url), deadline, MOST_ANSWER_BYTES) as answer:
                if answer.status not in _REDIRECTS:
                    _check_answer(answer)
                    yield from answer.pieces()
                    return
                url = _led_to(url, answer.header("location"), hosts)
    except Unfit:
        raise
    except RightsizeError as error:
        raise Unfit("unreadable_file", error.message) from error
    raise Unfit("unreadable_file", f"The URL leads on over {MOST_REDIRECTS} times. Give the one that it leads to.")


def _led_to(url: httpx2.URL, location: str | None, hosts: tuple[str, ...]) -> httpx2.URL:
    """Where a redirect leads to, judged as the URL itself was."""
    if not location or len(location) > MOST_URL_BYTES:
        raise Unfit("unreadable_file", "The server redirects to nowhere. Give the URL that it should lead to.")
    try:
        following = url.join(location)
    except (httpx2.InvalidURL, ValueError):
        raise Unfit("unreadable_file", "The server redirects to what is no URL. Give the one that it means.") from None
    if url.scheme == "https" and following.scheme != "https":
        raise Unfit("unreadable_file", "The server redirects from https:// to what is not. Give another URL.")
    try:
        return checked(str(following), hosts)
    except InvalidRequest as error:
        raise Unfit("unreadable_file", f"The server redirects, and that is not followed. {error.message}") from None


def _check_answer(answer: Answer) -> None:
    """Raise Unfit for an answer that is no document."""
    if answer.status != HTTPStatus.OK:
        raise Unfit("unreadable_file", _told(answer.status))
    if (answer.header("content-encoding") or "identity").strip().lower() not in {"identity", ""}:
        raise Unfit(
            "unreadable_file", "The server packs the document although we asked it not to. Submit it as a file."
        )
    size = answer.header("content-length") or ""
    if size.isdecimal() and len(size) < 20 and int(size) > MOST_BYTES:
        raise too_large(MOST_BYTES)


def _told(status: int) -> str:
    """What a status means, and what to do."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return f"The server refuses it (status {status}). Fetch the document yourself, and submit its file."
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return f"The server has no such document (status {status}). Check the URL."
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        return f"The server cannot give it now (status {status}). Submit it again later."
    return f"The server answers with status {status}, not with a document. Check the URL."


def _admits(entry: str, host: str) -> bool:
    """Whether an entry of the list admits a host: the name itself, or for `*.` any below it."""
    if entry.startswith("*."):
        return host.endswith(f".{_ascii(entry[2:])}")
    return host == _ascii(entry)


def _ascii(name: str) -> str:
    """A host's name as it stands in URLs; empty for what is none."""
    try:
        return _plain(httpx2.URL(f"https://{name}/").raw_host.decode("ascii"))
    except (httpx2.InvalidURL, ValueError):
        return ""


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
