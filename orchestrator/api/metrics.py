"""Numbers for Prometheus, under the names of `telemetry.METRICS`. No tenant's data is among them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.fleet import Fleet
from orchestrator.store import gauges
from orchestrator.telemetry import METRICS

BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ELSEWHERE: Final = "elsewhere"
"""The route of requests that none of ours serves: their paths are no label, or anybody could fill the memory with them."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The registry of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("rightsize_http_requests_total", "route", "method", "status")
        self.seconds = Histogram(
            "rightsize_http_request_seconds",
            METRICS["rightsize_http_request_seconds"],
            ["route"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self._queued = self._gauge("rightsize_jobs_queued")
        self._dispatches = self._gauge("rightsize_dispatches_open")
        self._oldest = self._gauge("rightsize_oldest_queued_seconds")
        self._work = self._gauge("rightsize_queued_work_seconds")
        self._workers = self._gauge("rightsize_workers")
        self._slots = self._gauge("rightsize_slots")
        self._rejected = self._gauge("rightsize_rejected_share")

    def show(self, found: Sequence[gauges.Gauge], rejected: Mapping[str, float], fleet: Fleet) -> None:
        """Take over what the store says: of each model where it stands, and the share of its answers that was not accepted."""
        for one in found:
            self._queued.labels(one.model).set(one.queued)
            self._dispatches.labels(one.model).set(one.dispatches)
            self._oldest.labels(one.model).set(one.oldest_s)
            self._work.labels(one.model).set(one.work_s(fleet.named(one.model)))
            self._workers.labels(one.model).set(one.workers)
            self._slots.labels(one.model).set(one.slots)
        for model, share in rejected.items():
            self._rejected.labels(model).set(share)

    def forget(self) -> None:
        """Drop what the store said last: a figure that cannot be read is absent, never old."""
        for gauge in (
            self._queued,
            self._dispatches,
            self._oldest,
            self._work,
            self._workers,
            self._slots,
            self._rejected,
        ):
            gauge.clear()

    def text(self) -> bytes:
        """Everything in Prometheus's text form."""
        return generate_latest(self.registry)

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, METRICS[name], labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, METRICS[name], ["model"], registry=self.registry)


class Measured:
    """ASGI middleware that counts and times requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began = time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", ELSEWHERE)
            method = scope["method"] if scope["method"] in METHODS else "OTHER"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)
