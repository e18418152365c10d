"""Chat requests a second through submit to recorded, against vLLM's own batch runner on the same rows and model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import Row, Scale, at_least, median, spread, told
from benchmarks.vllm.cell import Ours, RunBatch, cell, chats

PAIRS = 5
ROWS = 12_000
"""More than 30 seconds an arm on two cores."""


def measure(path: Path, scale: Scale) -> list[Row]:
    with cell(path) as ours:
        peer = RunBatch(ours.stack, path)
        return pairs(ours, peer, scale)


def pairs(ours: Ours, peer: RunBatch, scale: Scale) -> list[Row]:
    rows = chats(scale.of(ROWS))
    warm = chats(500, seed=2)
    ours.run(warm), peer.run(warm)
    mine, theirs = [], []
    for number in range(PAIRS):
        arms = [(mine, ours), (theirs, peer)]
        for found, arm in arms if number % 2 == 0 else reversed(arms):
            found.append(arm.run(rows))  # type: ignore[attr-defined]
            print(type(arm).__name__, found[-1], flush=True)
    ratios = [a.per_second / b.per_second for a, b in zip(mine, theirs, strict=True)]
    rates = [one.per_second for one in mine]
    note = f"{len(rows)} chats of 16 to 32 tokens, {PAIRS} alternating pairs; {spread(ratios)}; on a CPU our engine's OpenMP waits passively, run_batch's as it ships; seconds an arm {median([r.seconds for r in mine]):.0f}"
    return [
        at_least("times vLLM's run_batch", median(ratios), 0.97, "x", baseline=median([r.per_second for r in theirs]), note=note),
        told("requests a second, submit to recorded", median(rates), "1/s", note=spread(rates)),
        told("our CPU a request, all processes and servers", 1000 * median([r.cpu_s / r.rows for r in mine]), "ms",
             note=f"run_batch {1000 * median([r.cpu_s / r.rows for r in theirs]):.3g} ms"),
        told("rows that succeeded", sum(r.succeeded for r in mine), "rows", note=f"of {sum(r.rows for r in mine)}; run_batch {sum(r.succeeded for r in theirs)}"),
    ]  # fmt: skip
