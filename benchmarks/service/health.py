"""The probes of a service that is full: how long `/livez` and `/readyz` take while callers never pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

import httpx2

from benchmarks.report import Row, Scale, at_most, median, percentile, told
from benchmarks.service.chat import CLIENTS, QUICK_ROUND_S, WARM_UP_S
from benchmarks.service.generator import Generator
from benchmarks.service.ours import service
from benchmarks.stack import fleet

P99_MS: Final = 100.0
FULL_S: Final = 30.0
PAUSE_S: Final = 0.03
"""Between two probes of one path."""
PATHS: Final = ("/livez", "/readyz")


class Prober(threading.Thread):
    """Asks one path again and again until stopped."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(name=f"probe {path}")
        self._url, self._path = url, path
        self._ending = threading.Event()
        self.took_ms: list[float] = []
        self.failed: list[str] = []

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=30) as client:
            while not self._ending.wait(PAUSE_S):
                began = time.perf_counter()
                try:
                    status = client.get(self._path).status_code
                except httpx2.HTTPError as error:
                    self.failed.append(type(error).__name__)
                    continue
                self.took_ms.append(1000 * (time.perf_counter() - began))
                if status != 200:
                    self.failed.append(str(status))

    def stop(self) -> None:
        self._ending.set()
        self.join()


def measure(scale: Scale) -> list[Row]:
    with service(fleet()) as ours:
        generator = Generator.start(ours.stack)
        generator.closed(ours.target, CLIENTS, WARM_UP_S)
        probers = [Prober(ours.target.url, path) for path in PATHS]
        for prober in probers:
            prober.start()
        try:
            full = generator.closed(ours.target, CLIENTS, QUICK_ROUND_S if scale.quick else FULL_S)
        finally:
            for prober in probers:
                prober.stop()
    return rows(probers, full.per_second)


def rows(probers: Sequence[Prober], per_second: float) -> list[Row]:
    found: list[Row] = []
    for path, prober in zip(PATHS, probers, strict=True):
        if prober.failed:
            raise RuntimeError(f"{path} did not answer 200: {', '.join(prober.failed[:5])}")
        took = prober.took_ms
        shape = f"{len(took)} probes beside {CLIENTS} callers who never pause ({per_second:.0f} requests/s)"
        found += [
            told(f"{path} of a full service, p50", median(took), "ms", note=shape),
            at_most(f"{path} of a full service, p99", percentile(took, 0.99), P99_MS, "ms", note=f"the longest {max(took):.0f} ms"),
        ]  # fmt: skip
    return found
