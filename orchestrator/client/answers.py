"""From a response to what it says: a JSON object, or the error of our tree that the service raised. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx2
import orjson

from orchestrator.client.call import Thing
from orchestrator.errors import (
    Busy,
    FilesFull,
    InvalidRequest,
    JobFailed,
    NotFound,
    OverQuota,
    Refused,
    RightsizeError,
    ServiceUnavailable,
)

JOB: Final = "x-rightsize-job"
"""Names the job of an answer, also of one that failed."""
PASSING: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request may succeed."""
SOON_S: Final = 0.2


def found(response: httpx2.Response, base_url: str) -> Thing:
    """The object in a response that was read; raises the error that it tells of."""
    if response.status_code >= 400:
        raise error_of(response)
    told = object_of(response)
    if not told:
        raise ServiceUnavailable(f"{base_url} answered something that is not JSON. Is it a Rightsize service?")
    return told


def object_of(response: httpx2.Response) -> Thing:
    """The JSON object of a response; empty where there is none."""
    try:
        told = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def error_of(response: httpx2.Response) -> RightsizeError:
    """The error that a response tells of: a failed job's, else of the class that raised it, else by its status."""
    told = object_of(response).get("error")
    told = told if isinstance(told, dict) else {}
    message = str(told.get("message") or f"The service answered {response.status_code} to {response.request.url.path}.")
    code = told.get("code")
    if job_id := response.headers.get(JOB):
        return JobFailed(message, code=str(code or "failed"), job_id=job_id, http_status=response.status_code)
    kind = _KINDS.get(str(code))
    if kind is OverQuota and response.headers.get("x-should-retry") == "false":
        kind = FilesFull  # no waiting helps
    error = _made(kind or _kind_of(response.status_code), message, told.get("param"), response)
    if kind is None:
        error.status = response.status_code
        if isinstance(code, str):
            error.code = code
    return error


def object_in(event: httpx2.ServerSentEvent) -> Thing:
    """The JSON object of an event; raises ServiceUnavailable where there is none."""
    try:
        told = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise ServiceUnavailable(
            "The service sent an event that is no JSON object. Is something between that changes it?"
        )
    return told


def failed_job(error: Mapping[str, Any], job_id: str) -> JobFailed:
    """What an answer that broke off in its midst tells of its job."""
    message = str(error.get("message") or "The answer broke off.")
    return JobFailed(message, code=str(error.get("code") or "failed"), job_id=job_id)


def _made(kind: type[RightsizeError], message: str, param: object, response: httpx2.Response) -> RightsizeError:
    if issubclass(kind, Busy):
        wait = response.headers.get("retry-after", "")
        return kind(message, retry_after_s=float(wait) if wait.isdigit() else SOON_S)
    error: RightsizeError = kind.__new__(kind)  # some classes build their message themselves; this one is built already
    RightsizeError.__init__(error, message, param=param if isinstance(param, str) else None)
    return error


def _kind_of(status: int) -> type[RightsizeError]:
    if status in PASSING:
        return ServiceUnavailable
    if status == 404:
        return NotFound
    return Refused if status < 500 else RightsizeError


def _known(kind: type[RightsizeError]) -> Iterator[tuple[str, type[RightsizeError]]]:
    yield kind.code, kind
    for child in kind.__subclasses__():
        if child.code != kind.code:  # a refinement of the server's own: callers know its parent
            yield from _known(child)


_KINDS: Final[Mapping[str, type[RightsizeError]]] = {
    **dict(_known(Refused)),
    **dict(_known(Busy)),  # last: of two with a code this is the one to wait for
    InvalidRequest.code: InvalidRequest,
}
