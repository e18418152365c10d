"""What went wrong, in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import ids
from orchestrator.errors import Busy, FilesFull, RightsizeError, ServiceUnavailable
from orchestrator.telemetry import log, log_fault

TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
SAID_EVERY_S: Final = 10.0
CLIENT_GONE: Final = 499
"""What the metrics count where the client hung up before its answer: nobody reads the response."""


def error_type(status: int) -> str:
    """OpenAI's word for a class of errors."""
    if status >= 500:
        return "server_error"
    return TYPES.get(status, "invalid_request_error")


def failure(
    status: int, message: str, *, code: str, param: str | None = None, headers: Mapping[str, str] | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Response:  # fmt: skip
    """One error response; `beside` stands beside the error in its body."""
    error = {"message": message, "type": error_type(status), "param": param, "code": code}
    content = orjson.dumps({"error": error, **(beside or {})}, default=str)
    return Response(content, status_code=status, headers=dict(headers or {}), media_type="application/json")


def of_error(error: RightsizeError) -> Response:
    """The response for an error of ours; one that says when to come back carries Retry-After."""
    headers: dict[str, str] = {}
    if isinstance(error, Busy):
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s))), **error.headers}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 409 or isinstance(error, FilesFull):
        # The official clients would: to them a conflict is a lock that somebody holds, and a 429 passes by itself.
        headers["x-should-retry"] = "false"
    return failure(error.status, _sayable(error.message), code=error.code, param=error.param, headers=headers)


def unexpected(error: BaseException) -> Response:
    """Log a fault of ours once, without what the request held, and answer with the id of the log line."""
    fault = f"fault_{ids.uuid7().hex}"
    log_fault("request_failed", error, id=fault)
    return failure(
        500, f"Rightsize met a fault of its own. Try again; if it stays, report {fault}.", code="internal_error"
    )


class Said:
    """Says in the log that requests are answered with 503, and why: a line in ten seconds, however many there are."""

    def __init__(self) -> None:
        self._next_at = float("-inf")
        self._since = 0

    def of(self, error: ServiceUnavailable) -> None:
        """Count one, and say it where nothing was said lately."""
        self._since += 1
        now = time.monotonic()
        if now >= self._next_at:
            log("unavailable", logging.WARNING, detail=error.message, requests=self._since)
            self._next_at, self._since = now + SAID_EVERY_S, 0


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Put every kind of error into OpenAI's form; `routes` are those that the application serves."""
    said = Said()

    async def ours(_: Request, error: Exception) -> Response:
        if not isinstance(error, RightsizeError) or error.code == "internal_error":
            return unexpected(error)
        if isinstance(error, ServiceUnavailable):
            said.of(error)
        return of_error(error)

    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "invalid"}
        name = str(first["loc"][-1]) if first["loc"] else None
        return failure(400, f"`{name}`: {first['msg']}.", code="invalid_request", param=name)

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        where = f"{request.method} {request.url.path[:200]}"
        if status == 404:
            return failure(404, f"There is no route {where}. /openapi.json lists them.", code="not_found")
        if status == 405:
            allowed = ", ".join(_methods(routes, request)) or "GET"
            message = f"{where} is not served: use {allowed}."
            return failure(405, message, code="method_not_allowed", headers={"Allow": allowed})
        return failure(status, str(getattr(error, "detail", error))[:500], code="http_error", headers=headers)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    app.add_exception_handler(RightsizeError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)


def _methods(routes: Sequence[BaseRoute], request: Request) -> list[str]:
    """Every method that a path is served with: each route of it knows its own alone."""
    found = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in found if isinstance(route, Route) for method in route.methods or ()})


class LastResort:
    """ASGI middleware that turns what nobody caught into a 500 with an id, and lets no traceback out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # the last place where a fault can still become an answer
            response = unexpected(error)
            if begun:
                raise ConnectionAbortedError("The response broke off.") from None
            await response(scope, receive, send)


def _sayable(text: str) -> str:
    """Text that may quote a caller's lone surrogates, in a form that JSON can hold."""
    return text.encode("utf-8", "replace").decode()
