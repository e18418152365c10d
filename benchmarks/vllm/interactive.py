"""Interactive requests while a batch of mixed lengths fills the engine: what they wait, and what the reserve costs the batch."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.produce import OWNER, submit_by_flow
from benchmarks.report import Row, Scale, at_least, median, percentile, spread, told
from benchmarks.vllm.cell import CONTEXT, Ours, cell, chat
from orchestrator.contracts import answer_stream
from orchestrator.flow import submit

PROBES = 200
ROWS = 3_000
SLOTS = 32
RESERVE = 0.1


def mixed(count: int) -> list[dict[str, Any]]:
    dice = random.Random(7)
    return [chat(number, most=min(dice.choice((4, 16, 64, 256)), CONTEXT // 4)) for number in range(count)]


def measure(path: Path, scale: Scale) -> list[Row]:
    rows = mixed(scale.of(ROWS))
    probes = scale.of(PROBES)
    with cell(path, slots=SLOTS, reserve=RESERVE) as ours:
        idle = probe(ours, probes)
        alone = [ours.run(rows).per_second for _ in range(2)]
        beside, waited = [], []
        for _ in range(2):
            rate, found = under_load(ours, rows, probes // 2)
            beside.append(rate)
            waited += found
    return [
        told("interactive request of one token, idle, median", 1000 * median(idle), "ms", note=f"p99 {1000 * percentile(idle, 0.99):.0f} ms"),
        told("the same under a full engine, median", 1000 * median(waited), "ms",
             note=f"{len(waited)} probes; p99 {1000 * percentile(waited, 0.99):.0f} ms; {median(waited) / median(idle):.2g} x idle"),
        at_least("batch beside probes, of its rate alone", median(beside) / median(alone), 0.9, "x", baseline=median(alone),
                 note=f"{len(rows)} rows of 4 to 256 tokens, {SLOTS} slots of which {RESERVE:.0%} are kept; {spread(beside)}; alone {spread(alone)}"),
    ]  # fmt: skip


def probe(ours: Ours, count: int) -> list[float]:
    """Seconds from submit to the answer, one request after the other."""
    found = []
    for number in range(count):
        body = chat(number, most=1)["body"]
        started = time.monotonic()
        job = submit.submit_job(
            ours.context, OWNER, "/v1/chat/completions", body, interactive=True, within_s=60.0, idempotency_key=None
        )
        assert ours.context.broker.redis.xread({answer_stream(job.public_id.hex): "0"}, count=1, block=60_000)
        found.append(time.monotonic() - started)
    return found


def under_load(ours: Ours, rows: list[dict[str, Any]], count: int) -> tuple[float, list[float]]:
    """The batch's rate while probes run, and what they waited."""
    look = submit_by_flow(ours.context, rows)
    started = time.monotonic()
    while look()[1] < len(rows) // 20:
        time.sleep(0.02)
    found: list[float] = []
    prober = threading.Thread(target=lambda: found.extend(probe(ours, count)))
    prober.start()
    while look()[1] < len(rows):
        time.sleep(0.05)
    seconds = time.monotonic() - started
    prober.join()
    while look()[0] not in ("completed", "failed"):
        time.sleep(0.05)
    return len(rows) / seconds, found
