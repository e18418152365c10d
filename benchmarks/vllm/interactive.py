"""Interactive requests while a batch of mixed lengths fills the engine: what they wait, and what the reserve costs the batch.

On SmolLM2, whose step takes about as long as one of a large model on a GPU: beside the tiny model's steps of some milliseconds the
way from submit to record would be all that is seen.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.produce import OWNER, submit_by_flow
from benchmarks.report import Row, Scale, at_least, at_most, median, percentile, spread, told
from benchmarks.vllm.cell import Ours, cell, chat
from benchmarks.weights import smollm2
from orchestrator.contracts import answer_stream
from orchestrator.flow import submit

PROBES: Final = 200
PROBES_A_SECOND: Final = 2.0
"""Of random arrivals: as fast as they can be answered, their prompts alone would be a quarter of what the engine computes."""
ROWS: Final = 300
LENGTHS: Final = (4, 16, 64, 128)
SLOTS: Final = 32
RESERVE: Final = 0.1
RUNS: Final = 4
STEPS: Final = 3
WITHIN_S: Final = 60.0
BLOCK_MS: Final = 1_000
"""Below the time in which a connection to Redis must hear something."""
IN_ENGINE: Final = """
    SELECT a.engine_s FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.interactive AND j.id > %s ORDER BY j.id
"""


def mixed(count: int) -> list[dict[str, Any]]:
    dice = random.Random(7)
    return [chat(number, most=dice.choice(LENGTHS)) for number in range(count)]


@dataclass(slots=True)
class Found:
    """What one cell showed."""

    idle: list[float] = field(default_factory=list)
    """Seconds of a request on an idle engine."""
    waited: list[float] = field(default_factory=list)
    """Seconds of a request beside the batch."""
    inside: list[float] = field(default_factory=list)
    """The part of those that passed in the engine."""
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    """Rows a second of the batch, without and with requests beside it."""
    step_s: float = 0.0
    late_step_s: float = 0.0
    """The median and the 99th percentile of what a running request waited for its next token, as vLLM tells."""


def measure(scale: Scale) -> list[Row]:
    path = smollm2.folder()
    rows, probes = mixed(scale.of(ROWS)), scale.of(PROBES)
    kept = one_cell(path, rows, RUNS, probes // RUNS, RESERVE)
    free = one_cell(path, rows, 1, probes // RUNS, 0.0)
    step_ms, late_ms = 1000 * kept.step_s, 1000 * kept.late_step_s
    steps = f"a step is what a running request waits for its next token, by vLLM's own clock over the whole run: {step_ms:.1f} ms, p99 {late_ms:.1f} ms"
    shape = f"{len(kept.waited)} short probes of one token, {PROBES_A_SECOND:g} a second, beside {len(rows)} rows of {LENGTHS[0]} to {LENGTHS[-1]} tokens, {SLOTS} slots"
    return [
        at_most("first token beside a full engine, p50, in median steps", median(kept.waited) / kept.step_s, STEPS, "steps",
                note=f"{1000 * median(kept.waited):.1f} ms from submit to the answer; SmolLM2-135M; {shape}; {steps}"),
        at_most("first token beside a full engine, p99, in p99 steps", percentile(kept.waited, 0.99) / kept.late_step_s, STEPS, "steps",
                note=f"{1000 * percentile(kept.waited, 0.99):.1f} ms"),
        told("of which in the engine, p50, in median steps", median(kept.inside) / kept.step_s, "steps",
             note=f"{1000 * median(kept.inside):.1f} ms, p99 {1000 * percentile(kept.inside, 0.99):.1f} ms; the rest is submit, dispatch, claim and record"),
        told("the same on an idle engine, p50", 1000 * median(kept.idle), "ms",
             note=f"p99 {1000 * percentile(kept.idle, 0.99):.1f} ms; beside the batch {median(kept.waited) / median(kept.idle):.2g} x as long"),
        told("without slots kept free, p50", 1000 * median(free.waited), "ms",
             note=f"p99 {1000 * percentile(free.waited, 0.99):.1f} ms; in the engine {1000 * median(free.inside):.1f} ms"),
        at_least("batch beside probes, of its rate alone", median(kept.beside) / median(kept.alone), 0.9, "x", baseline=median(kept.alone),
                 note=f"rows a second; {spread(kept.beside)}; alone {spread(kept.alone)}"),
        told("price of the reserve: batch alone with it, of without", median(kept.alone) / median(free.alone), "x",
             note=f"{RESERVE:.0%} of the slots kept; without {spread(free.alone)}"),
    ]  # fmt: skip


def one_cell(path: Path, rows: list[dict[str, Any]], runs: int, probes: int, reserve: float) -> Found:
    """Probes on an idle engine, the batch alone, and both together, with such a reserve."""
    found = Found()
    with cell(path, slots=SLOTS, reserve=reserve) as ours:
        ours.run(rows[: len(rows) // 4])
        found.idle = probe(ours, max(10, probes // 2))
        with ours.stack.connect() as connection:
            (last,) = connection.execute("SELECT max(id) FROM jobs").fetchone() or (0,)
            for _ in range(runs):
                found.alone.append(ours.run(rows).per_second)
                rate, waited = under_load(ours, rows, probes)
                found.beside.append(rate)
                found.waited += waited
                print(
                    f"reserve {reserve}: alone {found.alone[-1]:.3g}/s, beside {rate:.3g}/s, {len(waited)} probes, p50 {1000 * median(waited):.0f} ms",
                    flush=True,
                )
            found.inside = [row[0] for row in connection.execute(IN_ENGINE, [last])]
        report = ours.end_worker()
    found.step_s, found.late_step_s = report["step_ms_p50"] / 1000, report["step_ms_p99"] / 1000
    return found


def probe(ours: Ours, count: int, going: threading.Event | None = None) -> list[float]:
    """Seconds from submit to the answer of short requests at random times; no more of them once `going` is cleared."""
    found: list[float] = []
    dice, due = random.Random(3), time.monotonic()
    while len(found) < count and (going is None or going.is_set()):
        body = chat(len(found), most=1, system="Be brief.", text=f"Is {len(found)} odd?")["body"]
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        due = started + dice.expovariate(PROBES_A_SECOND)
        job = submit.submit_job(
            ours.context, OWNER, "/v1/chat/completions", body, interactive=True, within_s=WITHIN_S, idempotency_key=None
        )
        stream = {answer_stream(job.public_id.hex): "0"}
        while not ours.context.broker.redis.xread(stream, count=1, block=BLOCK_MS):
            assert time.monotonic() - started < WITHIN_S, "no answer to a request"
        found.append(time.monotonic() - started)
    return found


def under_load(ours: Ours, rows: list[dict[str, Any]], count: int) -> tuple[float, list[float]]:
    """The batch's rate while probes run, and what they waited. Only probes that met a full engine count."""
    look = submit_by_flow(ours.context, rows)
    started = time.monotonic()
    while look()[1] < len(rows) // 20:
        time.sleep(0.02)
    found: list[float] = []
    going = threading.Event()
    going.set()
    prober = threading.Thread(target=lambda: found.extend(probe(ours, count, going)))
    prober.start()
    while (recorded := look()[1]) < len(rows):
        if recorded > len(rows) - SLOTS:
            going.clear()  # it runs empty
        time.sleep(0.05)
    seconds = time.monotonic() - started
    prober.join()
    while look()[0] not in ("completed", "failed"):
        time.sleep(0.05)
    return len(rows) / seconds, found
