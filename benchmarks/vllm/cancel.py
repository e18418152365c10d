"""A batch of long answers fills the engine and is cancelled: how long the engine goes on with what nobody wants any more."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

import psutil

from benchmarks.produce import ENDED, OWNER, submit_by_flow
from benchmarks.report import Row, Scale, at_most, median, percentile, spread
from benchmarks.vllm.cell import SLOTS, WARM_WITHIN_S, Ours, cell, chat
from orchestrator.flow.cancel import cancel_batch

TOKENS: Final = 1_500
ROUNDS: Final = 5
WITHIN_S: Final = 2.0
STEPS: Final = 3
LOOK_S: Final = 0.1
IDLE: Final = 0.2
"""Of a look that the engine's process computes: it waits for work. While it runs requests it is a whole core and more."""
LOOKS: Final = 3
"""In a row, before it counts as idle from the first of them on."""


def measure(path: Path, scale: Scale) -> list[Row]:
    del scale  # a round is short, and its length is no matter of size
    dice = random.Random(2)
    with cell(path, pace={}) as ours:
        ours.run([chat(number, most=8) for number in range(SLOTS)])
        engine = Engine(ours)
        # Somewhere between two heartbeats each time: whatever waits for one shows.
        found = [one_round(ours, engine, after_s=dice.uniform(0.5, 4.0)) for _ in range(ROUNDS)]
        report = ours.end_worker()
    step_s = report["step_ms_p50"] / 1000
    return [
        at_most("cancel of a batch to engine idle, median", median(found), max(WITHIN_S, STEPS * step_s), "s",
                note=f"{SLOTS} answers of {TOKENS} tokens run; default settings; idle: its process computes nothing for {LOOKS * LOOK_S:.1f} s; "
                     f"worst {percentile(found, 1.0):.2f} s; a step {1000 * step_s:.1f} ms; {spread(found)}"),
    ]  # fmt: skip


class Engine:
    """The processes that the worker's engine computes in, seen from outside."""

    def __init__(self, ours: Ours) -> None:
        self._processes = psutil.Process(ours.worker.pid).children(recursive=True)

    def cpu_s(self) -> float:
        """CPU-seconds so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)

    def wait_until(self, *, busy: bool, within_s: float = WARM_WITHIN_S) -> float:
        """Wait for it to compute, or to have computed nothing for some looks; the monotonic time when that began."""
        until = time.monotonic() + within_s
        looks: list[float] = []
        last, spent = time.monotonic(), self.cpu_s()
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            now, total = time.monotonic(), self.cpu_s()
            share = (total - spent) / (now - last)
            looks = [*looks, last] if (share > IDLE) == busy else []
            if len(looks) == LOOKS:
                return looks[0]
            last, spent = now, total
        raise RuntimeError(f"The engine did not become {'busy' if busy else 'idle'} within {within_s:g} s.")


def one_round(ours: Ours, engine: Engine, *, after_s: float) -> float:
    """Seconds from the call that cancels to the engine's idleness."""
    look = submit_by_flow(ours.context, [chat(number, most=TOKENS) for number in range(2 * SLOTS)])
    with ours.stack.connect() as connection:
        row = connection.execute("SELECT public_id FROM batches ORDER BY id DESC LIMIT 1").fetchone()
    assert row
    engine.wait_until(busy=True)
    time.sleep(after_s)
    started = time.monotonic()
    cancel_batch(ours.context, OWNER, row[0])
    idle = engine.wait_until(busy=False)
    while look()[0] not in ENDED:
        time.sleep(0.05)
    assert look()[0] == "cancelled", look()
    return max(0.0, idle - started)
