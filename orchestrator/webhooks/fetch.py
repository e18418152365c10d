"""Asks for one document by its URL, once: from an address that was checked, bounded, and never anywhere else.

It is here since what keeps a delivery from our own network keeps a fetch from it as well. Hosts, redirects and statuses are
judged by whoever asks (`documents.inputs.web`, which this serves without knowing it).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final

import httpcore2
import httpx2

from orchestrator import __version__
from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.webhooks.address import LOOKUP_S, Pinned, Target, checked_url, lookup, pinned
from orchestrator.webhooks.line import Line
from orchestrator.webhooks.networks import Networks

_FAULTS: Final = (OSError, httpcore2.RemoteProtocolError)


class Answer:
    """What a server answered, while its connection is open."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The status."""
        return self._response.status

    def header(self, name: str) -> str | None:
        """A header by its name in lower case; the first where it came several times."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for key, value in self._response.headers if key.lower() == wanted), None)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises ServiceUnavailable where it is late or breaks off."""
        try:
            yield from self._response.iter_stream()
        except TimeoutError:
            raise _late() from None
        except _FAULTS as error:
            raise ServiceUnavailable("The server broke off in the middle of the document. Submit it again.") from error


class Fetcher:
    """Asks for documents. Safe to share between threads: each has a connection of its own.

    `allowed` are the networks of the installation's own that may be asked although they are private. The certificates of the
    system are trusted, or those of SSL_CERT_FILE. No proxy is used: what a proxy would connect to could not be pinned.
    """

    def __init__(self, allowed: Networks = ()) -> None:
        self._allowed = tuple(allowed)
        self._context = httpx2.create_ssl_context()
        self._context.set_alpn_protocols(["http/1.1"])

    @contextmanager
    def __call__(self, url: str, deadline: float, most_bytes: int) -> Iterator[Answer]:
        """The answer to a GET, until a moment of the monotonic clock; redirects are not followed.

        Raises InvalidRequest for an address that is not to be asked, and ServiceUnavailable where no answer comes; neither
        quotes the URL.
        """
        found = self._pinned(url, deadline)
        with closing(_connected(found, deadline, most_bytes)) as line:
            if found.target.scheme == "https":
                self._secure(line, found.target)
            yield Answer(_asked(line, found.target))

    def _pinned(self, url: str, deadline: float) -> Pinned:
        """Where to connect. The name is looked up here, once, and each of its addresses judged."""
        try:
            target = _target(url, self._allowed)
        except InvalidRequest:
            raise _refused() from None
        try:
            addresses = lookup(target, min(LOOKUP_S, max(deadline - time.monotonic(), 0.0)))
        except InvalidRequest:
            raise InvalidRequest("There is no host of that name. Check its spelling.") from None
        try:
            found = pinned(_as_https(target), addresses, self._allowed)
        except InvalidRequest:
            raise _refused() from None
        return Pinned(target, found.addresses)

    def _secure(self, line: Line, target: Target) -> None:
        try:
            line.secure(self._context, target.host)
        except TimeoutError:
            raise _late() from None
        except ssl.SSLCertVerificationError as error:
            raise ServiceUnavailable(
                f"The server's certificate is not trusted ({error.verify_message.rstrip('.')}). Give its authority to SSL_CERT_FILE."
            ) from error
        except OSError as error:
            raise ServiceUnavailable("The server does not speak TLS as we do. It needs TLS 1.2 or later.") from error


def _target(url: str, allowed: Networks) -> Target:
    """What a URL names, judged as a receiver's; `http` is judged by the same rules, and goes out as it is."""
    found = httpx2.URL(url)
    if found.scheme != "http":
        return checked_url(url, allowed)
    target = checked_url(str(found.copy_with(scheme="https", port=found.port or 80)), allowed)
    return replace(target, url=str(found), scheme="http", authority=found.netloc.decode("ascii"))


def _as_https(target: Target) -> Target:
    """The target as `pinned` judges it by its addresses alone: which hosts are asked without TLS was said by whoever asks."""
    return replace(target, scheme="https")


def _connected(found: Pinned, deadline: float, most_bytes: int) -> Line:
    try:
        return Line.to(found, deadline, most_bytes)
    except TimeoutError:
        raise _late() from None
    except OSError as error:
        raise ServiceUnavailable(
            f"The server cannot be reached ({error.strerror or 'no connection'}). Check the URL, or submit it again later."
        ) from error


def _asked(line: Line, target: Target) -> httpcore2.Response:
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    fields = {
        "host": target.authority,
        "user-agent": f"Rightsize/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
    request = httpcore2.Request("GET", url, headers=headers)
    try:
        return httpcore2.HTTP11Connection(request.url.origin, line).handle_request(request)
    except TimeoutError:
        raise _late() from None
    except (*_FAULTS, httpcore2.WriteError) as error:
        raise ServiceUnavailable("The server gives no answer that is one of HTTP. Check the URL.") from error


def _late() -> ServiceUnavailable:
    return ServiceUnavailable("The server did not give the document in time. Submit it again, or as a file.")


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "The URL does not lead to public addresses and ports of the web only. For a server of your own network, add that network "
        "to RIGHTSIZE_WEBHOOK_NETWORKS, or submit files."
    )
