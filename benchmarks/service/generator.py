"""The load generator as its user sees it: whom to ask, what came of a run, and what the generator itself could do at most."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from benchmarks.processes import Process
from benchmarks.stack import Stack

PATH: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """A service that answers chats in OpenAI's form."""

    url: str
    key: str
    body: Mapping[str, object]

    def asked(self) -> dict[str, object]:
        return {"url": self.url + PATH, "headers": {"Authorization": f"Bearer {self.key}"}, "body": self.body}


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one run."""

    seconds: float
    latencies_ms: Sequence[float]
    cpu_s: float
    """Of the generator itself."""
    late_ms: Sequence[float] = ()
    """Open loop: how much later than due each request was sent."""
    pieces_ms: Sequence[Sequence[float]] = ()
    """Streams: when each piece of each came."""

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds


class Generator:
    """A running generator."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    def start(cls, stack: Stack) -> Self:
        process = stack.start("load", [sys.executable, "-m", "benchmarks.service.load"], talks=True)
        process.hear()
        return cls(process)

    def closed(self, target: Target, clients: int, seconds: float) -> Told:
        """Requests of so many callers at once, each as soon as its last is answered."""
        return self._run(target, seconds, run="closed", clients=clients, seconds=seconds)

    def timed(self, target: Target, rate: float, seconds: float) -> Told:
        """So many requests a second, at fixed times."""
        return self._run(target, seconds, run="timed", rate=rate, seconds=seconds, clients=64)

    def streams(self, target: Target, clients: int, each: int, spread_s: float) -> Told:
        """Streams of so many callers at once, who begin spread over some time."""
        return self._run(target, 0.0, run="streams", clients=clients, each=each, spread_s=spread_s)

    def _run(self, target: Target, for_s: float, **how: object) -> Told:
        self.process.say(json.dumps({**target.asked(), **how}))
        told: dict[str, Any] = self.process.hear()
        if told["failure"]:
            raise RuntimeError(f"{target.url} did not answer as it should: {told['failure']}")
        return Told(
            for_s, _ms(told["latencies_us"]), told["cpu_s"], _ms(told.get("late_us", ())),
            [_ms(one) for one in told.get("pieces_us", ())],
        )  # fmt: skip


@contextmanager
def trivial(stack: Stack, body: Mapping[str, object]) -> Iterator[Target]:
    """A server that does nothing: what the generator reaches there is the most that it could show of any other."""
    process = stack.start("trivial", [sys.executable, "-m", "benchmarks.service.trivial"], talks=True)
    try:
        yield Target(f"http://127.0.0.1:{process.hear()['port']}", "none", body)
    finally:
        stack.stop(process)


def _ms(us: Sequence[int]) -> list[float]:
    return [one / 1000 for one in us]
