"""What can go wrong between us and a model's server, as EngineFaults: which of them another attempt may cure.

| seen | code | retryable |
| --- | --- | --- |
| connection refused, DNS, TLS; no server left | connection_failed | yes |
| no connection, no byte in time | connect_timeout, first_byte_timeout | yes |
| connection lost, stream without its end | connection_lost, cut_stream | yes |
| 408, 409, 425, 429, 5xx | upstream_timeout, upstream_conflict, too_early, rate_limited, server_error | yes |
| 401, 403, 404 | unauthorized, forbidden, model_not_found | no: the message names the key of rightsize.toml |
| 3xx | redirected | no |
| 400, 422 and other 4xx | bad_request | no |
| not JSON, wrong encoding, over 32 MiB | bad_json, bad_encoding, answer_too_large | yes |
| usage that cannot be, choices that cannot be | bad_usage, bad_choices | yes |
| another model's answer | wrong_model | only where another server is left |
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2

from orchestrator.errors import EngineFault
from orchestrator.fleet import Model

MAX_RETRY_AFTER_S: Final = 600.0
"""A server cannot put a job off for longer than this."""
NO_ANSWER: Final = frozenset({"first_byte_timeout", "bad_address"})
"""Codes of faults that tell nothing of whether a server can be reached."""
_MESSAGE_CHARS: Final = 300

_RETRYABLE: Final[Mapping[int, str]] = {
    408: "upstream_timeout",
    409: "upstream_conflict",
    425: "too_early",
    429: "rate_limited",
}


class Unreached(EngineFault):
    """The fault of a server that was not reached, or not in a state to answer."""

    counts = True
    """Whether it tells against the server: a few in a row open its circuit."""
    elsewhere = False
    """Whether no byte of an answer came, so that another server may be tried at once."""

    @classmethod
    def of(cls, fault: EngineFault, *, counts: bool, elsewhere: bool = False) -> Unreached:
        """The same fault, seen as one of the connection."""
        told = cls(
            fault.message,
            code=fault.fault_code,
            retryable=fault.retryable,
            http_status=fault.http_status,
            retry_after_s=fault.retry_after_s,
        )
        told.counts, told.elsewhere = counts, elsewhere
        return told


def none_reached(model: Model, retry_after_s: float) -> EngineFault:
    """The fault of a request for which no server is left: all circuits are open until the next probe."""
    name = f"models.{model.name}"
    servers = f"{name}.address" if not model.replicas else f"{name}.address and {name}.replicas"
    message = (
        f"No server of model {model.name} can be reached. The next look is in {max(1, round(retry_after_s))} s. "
        f"Are they running at {servers}?"
    )
    return EngineFault(
        message,
        code="connection_failed",
        retryable=True,
        http_status=503,
        retry_after_s=min(retry_after_s, MAX_RETRY_AFTER_S),
    )


def from_exception(error: Exception, model: Model, key: str | None = None) -> EngineFault:
    """The fault that an exception of the HTTP client stands for; `key` is the entry of the fleet that names the server."""
    where, name = f"The server of model {model.name}", f"models.{model.name}"
    seen, key = _short(str(error)), key or f"{name}.address"
    match error:
        case httpx2.ConnectTimeout():
            code, status = "connect_timeout", 504
            message = f"{where} took no connection within {model.connect_timeout_s:g} s. Is it running at {key}?"
        case httpx2.TimeoutException():
            code, status = "first_byte_timeout", 504
            message = f"{where} sent nothing for {model.first_byte_timeout_s:g} s ({name}.first_byte_timeout_s)."
        case httpx2.ConnectError():
            code, status = "connection_failed", 502
            message = f"{where} cannot be reached ({seen}). Is it running at {key}?"
        case httpx2.DecodingError():
            code, status = "bad_encoding", 502
            message = f"{where} sent a body that its Content-Encoding does not fit."
        case httpx2.SSEError():
            code, status = "bad_json", 502
            message = f"{where} sent a stream that is none: {seen}"
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL() | httpx2.LocalProtocolError():
            code, status = "bad_address", 502
            message = f"{where} cannot be asked: {seen}. Correct {key}."
        case _:
            code, status = "connection_lost", 502
            message = f"{where} broke off the connection ({seen})."
    return EngineFault(message, code=code, retryable=code != "bad_address", http_status=status)


def from_status(status: int, headers: Mapping[str, str], body: bytes, model: Model, key: str | None) -> EngineFault:
    """The fault that a status other than 2xx stands for."""
    said = _short(_scrubbed(_message_in(body), key))
    seen = f"The server of model {model.name} answered {status}" + (f": {said.rstrip('.')}." if said else ".")
    name = f"models.{model.name}"
    if status in _RETRYABLE or status >= 500:
        code = _RETRYABLE.get(status, "server_error")
        shown = {408: 504, 429: 429, 503: 503, 504: 504}.get(status, 502)
        after = retry_after_s(headers.get("retry-after"))
        return EngineFault(seen, code=code, retryable=True, http_status=shown, retry_after_s=after)
    if status in (401, 403):
        remedy = f"Set {name}.api_key_env to the environment variable that holds a key the server accepts."
        code = "unauthorized" if status == 401 else "forbidden"
        return EngineFault(f"{seen} {remedy}", code=code, retryable=False, http_status=502)
    if status == 404:
        remedy = f"Check {name}.served_model and {name}.address (it ends in /v1 for most servers)."
        return EngineFault(f"{seen} {remedy}", code="model_not_found", retryable=False, http_status=502)
    if status < 400:
        remedy = f"Redirects are not followed: put the final address into {name}.address."
        return EngineFault(f"{seen} {remedy}", code="redirected", retryable=False, http_status=502)
    return EngineFault(seen, code="bad_request", retryable=False, http_status=status)


def from_error_body(error: object, model: Model, key: str | None) -> EngineFault:
    """The fault of an answer with status 200 that is an error all the same."""
    status = error.get("code", error.get("status")) if isinstance(error, dict) else None
    if isinstance(status, str) and status.isdecimal() and len(status) == 3:
        status = int(status)
    if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 599:
        kind = str(error.get("type", "")) if isinstance(error, dict) else ""
        status = 400 if "invalid_request" in kind else 500
    return from_status(status, {}, json.dumps({"error": error}).encode(), model, key)


def retry_after_s(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (seconds or an HTTP date), from 0 to 600; None where it says nothing."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _message_in(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "detail", "message"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if isinstance(found, dict):
        found = found.get("message", "")
    return found if isinstance(found, str) else json.dumps(found)


def _scrubbed(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text


def _short(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _MESSAGE_CHARS]).split())
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}…"
