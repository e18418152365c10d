"""The arms of a comparison: each a way to get no-op jobs done, started for one run and stopped after it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.peers import Peer
from benchmarks.processes import Process
from benchmarks.rows import BODY
from benchmarks.stack import Stack

WARM_UP: Final = 500


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one arm."""

    jobs: int
    seconds: float
    """From the first submission until the last result is recorded."""
    cpu_s: float
    """Of all processes and servers, until everything that belongs to the run is done."""
    told: Mapping[str, Any]

    @property
    def per_second(self) -> float:
        return self.jobs / self.seconds


@contextmanager
def rightsize(stack: Stack, *, over_http: bool = False) -> Iterator[tuple[Process, tuple[Process, ...]]]:
    """Orchestrator, one worker and a caller, with the API where the caller goes over HTTP."""
    parts = [stack.orchestrator(), stack.worker()]
    try:
        words: list[str] = []
        if over_http:
            api, url = stack.api()
            parts.append(api)
            words = ["--url", url, "--api-key", api_key(stack)]
        caller = stack.start("caller", [sys.executable, "-m", "benchmarks.produce", *words], talks=True)
        parts.append(caller)
        caller.hear()
        yield caller, tuple(parts)
    finally:
        stack.stop(*reversed(parts))


def api_key(stack: Stack) -> str:
    """A new API key of the stack's default project."""
    return str(json.loads(stack.run_once("keys", "create", "--name", "bench", "--json"))["key"])


@contextmanager
def peer(stack: Stack, name: str) -> Iterator[tuple[Process, tuple[Process, ...]]]:
    """A peer's worker and its producer."""
    one = Peer(stack, name)
    try:
        yield one.producer, one.parts()
    finally:
        one.close()


ARMS: Final[dict[str, Callable[[Stack], Any]]] = {
    "rightsize": rightsize,
    "http": lambda stack: rightsize(stack, over_http=True),
    "celery": lambda stack: peer(stack, "celery"),
    "dramatiq": lambda stack: peer(stack, "dramatiq"),
}


def run(stack: Stack, arm: str, jobs: int) -> Run:
    """Start an arm, warm it up, measure one run, stop it."""
    with ARMS[arm](stack) as (caller, parts):
        _ask(caller, WARM_UP)
        before = stack.cpu_s(*parts)
        told = _ask(caller, jobs)
        return Run(jobs, told["recorded_s"], stack.cpu_s(*parts) - before, told)


def rounds(stack: Stack, arms: tuple[str, ...], jobs: int, count: int) -> dict[str, list[Run]]:
    """Every arm `count` times, in turns, so that the machine's moods meet all of them."""
    runs: dict[str, list[Run]] = {arm: [] for arm in arms}
    for number in range(count):
        for arm in arms[number % len(arms) :] + arms[: number % len(arms)]:
            runs[arm].append(run(stack, arm, jobs))
    return runs


def _ask(caller: Process, jobs: int) -> dict[str, Any]:
    caller.say(json.dumps({"jobs": jobs, "body": BODY}))
    told = caller.hear()
    if told.get("status", "completed") != "completed":
        raise RuntimeError(
            f"A batch ended as {told['status']}. The log of the caller ends:\n{caller.log.read_text()[-2000:]}"
        )
    return told
