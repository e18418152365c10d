"""What Rightsize adds to the engine's own time for an interactive request over HTTP, idle and beside bulk work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx2

from benchmarks import arms
from benchmarks.report import Row, Scale, at_most, median, percentile, told
from benchmarks.rows import BODY
from benchmarks.stack import Stack, fleet

ENGINE_S = 0.02
SLOTS = 16
PAUSE_S = 0.01
MEASURED = """
    SELECT a.engine_s FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.interactive AND j.id > %s ORDER BY j.id
"""


def measure(scale: Scale) -> list[Row]:
    requests = scale.of(300)
    rows = []
    with _service((ENGINE_S, ENGINE_S), SLOTS) as (stack, client):
        idle = _added_ms(stack, client, requests)
        with _bulk(stack, scale.of(60_000)) as finished:
            loaded = _added_ms(stack, client, requests)
            busy = not finished()
    rows += _rows("idle", idle, 15.0, "one worker with nothing else to do")
    rows += _rows(
        "with bulk", loaded, 30.0, _during(f"a batch of {ENGINE_S * 1000:g} ms jobs fills every bulk slot", busy)
    )
    with _service((0.0, 0.0), 64) as (stack, client), _bulk(stack, scale.of(200_000)) as finished:
        flooded = _added_ms(stack, client, requests)
        busy = not finished()
    rows += _rows("with no-op bulk", flooded, 30.0, _during("a batch of no-op jobs takes all the CPU there is", busy))
    return rows


@contextmanager
def _service(latency_s: tuple[float, float], slots: int) -> Iterator[tuple[Stack, httpx2.Client]]:
    with Stack(fleet(slots=slots, latency_s=latency_s), stop_within_s=1) as stack:
        stack.orchestrator()
        stack.worker()
        _, url = stack.api()
        key = arms.api_key(stack)
        with stack.connect() as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0) as client:
            _ask(client, 20)
            yield stack, client


@contextmanager
def _bulk(stack: Stack, jobs: int) -> Iterator[Callable[[], bool]]:
    """Bulk work that outlasts the measurement; yields whether it has ended."""
    caller = stack.start("caller", [sys.executable, "-m", "benchmarks.produce"], talks=True)
    caller.hear()
    with stack.connect() as connection:

        def recorded() -> int:
            row = connection.execute("SELECT coalesce(sum(jobs), 0) FROM batch_progress").fetchone()
            return int(row[0]) if row else 0

        caller.say(json.dumps({"jobs": jobs, "body": BODY}))
        while not recorded():
            time.sleep(0.05)
        yield lambda: recorded() >= jobs
    caller.kill()


def _ask(client: httpx2.Client, count: int) -> list[float]:
    """Seconds of each of some requests, one after another on one connection."""
    walls = []
    for _ in range(count):
        started = time.perf_counter()
        response = client.post("/v1/chat/completions", json=BODY)
        walls.append(time.perf_counter() - started)
        assert response.status_code == 200, response.text
        time.sleep(PAUSE_S)
    return walls


def _added_ms(stack: Stack, client: httpx2.Client, count: int) -> list[float]:
    """Milliseconds beyond the engine's own; the requests and their jobs stand in the same order."""
    with stack.connect() as connection:
        last = connection.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()
        walls = _ask(client, count)
        engine = [row[0] for row in connection.execute(MEASURED, last)]
    assert len(engine) == len(walls), f"{len(walls)} requests left {len(engine)} attempts"
    return [(wall - own) * 1000 for wall, own in zip(walls, engine, strict=True)]


def _rows(case: str, added: Sequence[float], limit: float, note: str) -> list[Row]:
    said = f"{note}; {len(added)} requests on one connection, synchronous_commit on"
    return [
        at_most(f"added latency {case}, median", median(added), limit, "ms", note=said),
        told(f"added latency {case}, p99", percentile(added, 0.99), "ms"),
    ]


def _during(what: str, busy: bool) -> str:
    return what if busy else f"{what} (IT ENDED BEFORE THE MEASUREMENT DID)"
