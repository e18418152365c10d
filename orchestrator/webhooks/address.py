"""Checks an address before every send, and pins the connection to what was checked.

A receiver's URL comes from outside, and the orchestrator stands inside: without this, anybody who may register a webhook
could have us speak to the database, to a cloud's metadata, or to a neighbour. The name is looked up once, every address that
it has is judged, and the connection goes to one of exactly those: a name that means something else a moment later (DNS
rebinding) is not asked again.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import Final

import httpx2

from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.webhooks.networks import Address, Networks, is_public, plain, within

MOST_CHARACTERS: Final = 2048
LOOKUP_S: Final = 5.0
MOST_LOOKUPS: Final = 32
"""Lookups at once, in this process: one that hangs cannot be ended, and must not let threads pile up."""
MOST_TRIED: Final = 4
"""Addresses of a name that are tried one after the other."""
LOOKS_LIKE: Final = "It looks like https://hooks.example.com/rightsize."

WEB_PORTS: Final = frozenset({80, 443})
"""All others below 1024 belong to services that are no receivers of webhooks."""
# What listens behind firewalls, is not made for strangers, and may take a line of HTTP for a command.
REFUSED_PORTS: Final = frozenset({
    1080, 1433, 1521, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4369, 5432, 5433, 5671, 5672, 5900, 5984,
    5985, 5986, 6000, 6379, 6380, 6432, 6443, 7000, 7001, 8500, 9042, 9092, 9160, 9200, 9300, 10250, 10255, 11211, 15672,
    16379, 26379, 26257, 27017, 27018, 27019, 28015,
})  # fmt: skip

_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_UNKNOWN: Final = {socket.EAI_NONAME} | ({socket.EAI_NODATA} if hasattr(socket, "EAI_NODATA") else set())
_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be one of a receiver. What its name stands for was not looked at yet."""

    url: str
    """As it is kept: lower case and ASCII where that changes nothing."""
    scheme: str
    host: str
    """A name or an address, ASCII, without brackets: what TLS asks the certificate for."""
    port: int
    authority: str
    """The Host header."""
    path: str
    """With the query; percent-encoded."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A target with the only addresses that a connection to it may go to, in the order to try them."""

    target: Target
    addresses: tuple[Address, ...]


def checked_url(text: str, allowed: Networks = ()) -> Target:
    """The target that a URL names; raises InvalidRequest for one that is never sent to.

    `allowed` are the networks of the operator's own receivers: they may be private, and `http` is for them alone. An address
    in any notation that connections understand (decimal, octal, hexadecimal, IPv4-mapped) is judged here already, a name by
    `pinned` once it is looked up.
    """
    url = _parsed(text)
    host = url.raw_host.decode("ascii")
    if url.scheme != "https" and not (url.scheme == "http" and allowed):
        raise _refused(f"The URL of a webhook must begin with https://. {LOOKS_LIKE}")
    if url.userinfo:
        raise _refused("The URL of a webhook must hold no user and no password: deliveries are signed instead.")
    if "#" in text:
        raise _refused("The URL of a webhook must have no fragment: leave out the # and what follows.")
    target = Target(
        url=str(url), scheme=url.scheme, host=host, port=_checked_port(url), authority=url.netloc.decode("ascii"),
        path=url.raw_path.decode("ascii"),
    )  # fmt: skip
    if literal := _literal(target):
        pinned(target, literal, allowed)
    elif len(host) > 253 or not _NAME.fullmatch(host):
        raise _refused(f"The URL of a webhook has no valid host name. {LOOKS_LIKE}")
    return target


def resolve(target: Target, allowed: Networks = (), timeout_s: float = LOOKUP_S) -> Pinned:
    """Look a target up, once, and judge what came: `lookup`, then `pinned`, with the errors of both."""
    return pinned(target, lookup(target, timeout_s), allowed)


def lookup(target: Target, timeout_s: float = LOOKUP_S) -> tuple[Address, ...]:
    """All addresses of a target's host, in the system's order of preference.

    Raises InvalidRequest when there is no such name, and ServiceUnavailable when no answer came within `timeout_s`.
    """
    give_up = time.monotonic() + timeout_s
    answers: queue.SimpleQueue[tuple[Address, ...] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_addresses(target))
        except (OSError, UnicodeError) as error:
            answers.put(error)
        finally:
            _lookups.release()

    late = ServiceUnavailable("The host's name was not looked up in time. Check the name server, then try again.")
    if not _lookups.acquire(timeout=timeout_s):
        raise late
    threading.Thread(target=ask, name="webhook-lookup", daemon=True).start()
    try:
        found = answers.get(timeout=max(give_up - time.monotonic(), 0.001))
    except queue.Empty:
        raise late from None
    if isinstance(found, socket.gaierror) and found.errno not in _UNKNOWN:
        raise ServiceUnavailable("The name server gave no answer about the host. Check it, then try again.") from found
    if isinstance(found, Exception) or not found:
        raise _refused("The URL of a webhook names a host that does not exist. Check its spelling.")
    return found


def pinned(target: Target, addresses: tuple[Address, ...], allowed: Networks = ()) -> Pinned:
    """A target with its addresses; raises InvalidRequest if only one of them is neither public nor in `allowed`.

    The message does not name them: what private names stand for is nothing for strangers.
    """
    reached = tuple(dict.fromkeys(plain(address) for address in addresses))
    own = [within(address, allowed) for address in reached]
    if not all(ours or is_public(address) for ours, address in zip(own, reached, strict=True)):
        raise _refused(
            "The URL of a webhook must lead to public addresses only. For a receiver of your own network, have the operator "
            "add that network to RIGHTSIZE_WEBHOOK_NETWORKS."
        )
    if target.scheme == "http" and not all(own):
        raise _refused(
            "The URL of a webhook must begin with https://: http:// is for the networks of RIGHTSIZE_WEBHOOK_NETWORKS."
        )
    return Pinned(target, reached[:MOST_TRIED])


def _parsed(text: str) -> httpx2.URL:
    if len(text) > MOST_CHARACTERS:
        raise _refused(
            f"The URL of a webhook must have at most {MOST_CHARACTERS} characters. Shorten its path or query."
        )
    try:
        return httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):  # its own words quote the URL, which may hold a token
        raise _refused(f"The URL of a webhook cannot be read. {LOOKS_LIKE}") from None


def _checked_port(url: httpx2.URL) -> int:
    port = url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]
    if port not in (*WEB_PORTS, *range(1024, 65_536)) or port in REFUSED_PORTS:
        raise _refused(
            f"The URL of a webhook names port {port}, which is not for receivers. Leave it out, or use 443 or 8443."
        )
    return port


def _literal(target: Target) -> tuple[Address, ...] | None:
    """The address that a host is, read by what connections read it with; None for a name."""
    try:
        return _addresses(target, socket.AI_NUMERICHOST) if target.host != "*" else None
    except (OSError, UnicodeError):
        return None


def _addresses(target: Target, flags: int = 0) -> tuple[Address, ...]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return tuple(ipaddress.ip_address(entry[4][0]) for entry in found)


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="url")
