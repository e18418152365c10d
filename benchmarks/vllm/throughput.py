"""Chat requests a second through submit to recorded, against vLLM's own batch runner on the same rows and model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Row, Scale, at_least, median, spread, told
from benchmarks.vllm.cell import Ours, Run, RunBatch, cell, chats

ROUNDS = 5
ROWS = 12_000
"""More than 30 seconds an arm on two cores."""
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
"""What our worker sets for an engine on a CPU. The peer runs as it ships, and beside it with the same setting."""


def measure(path: Path, scale: Scale) -> list[Row]:
    with cell(path) as ours:
        shipped = RunBatch(ours.stack, path)
        alike = RunBatch(ours.stack, path, environment=PASSIVE)
        return rounds(ours, shipped, alike, scale)


def rounds(ours: Ours, shipped: RunBatch, alike: RunBatch, scale: Scale) -> list[Row]:
    rows, warm = chats(scale.of(ROWS)), chats(500, seed=2)
    arms: list[Ours | RunBatch] = [ours, shipped, alike]
    found: list[list[Run]] = [[], [], []]
    for arm in arms:
        arm.run(warm)
    for number in range(ROUNDS):
        for place in range(3):
            at = (number + place) % 3
            found[at].append(arms[at].run(rows))
            print(("ours", "run_batch", "run_batch, waiting passively")[at], found[at][-1], flush=True)
    mine, theirs, passive = found
    ratios, same = against(mine, theirs), against(mine, passive)
    note = f"{len(rows)} chats of 16 to 32 tokens, {ROUNDS} rounds in turn; {spread(ratios)}; seconds an arm {median([r.seconds for r in mine]):.0f}"
    return [
        at_least("times vLLM's run_batch", median(ratios), 0.97, "x", baseline=rate(theirs), note=note),
        told("times run_batch with the OpenMP setting that our worker makes", median(same), "x",
             note=f"OMP_WAIT_POLICY=passive; {spread(same)}; run_batch {rate(passive):.4g}/s"),
        told("requests a second, submit to recorded", rate(mine), "1/s", note=spread([r.per_second for r in mine])),
        told("our CPU a request, all processes and servers", cpu_ms(mine), "ms",
             note=f"run_batch {cpu_ms(theirs):.3g} ms, waiting passively {cpu_ms(passive):.3g} ms"),
        told("rows that succeeded", sum(r.succeeded for r in mine), "rows", note=f"of {sum(r.rows for r in mine)}; run_batch {sum(r.succeeded for r in theirs)}"),
    ]  # fmt: skip


def against(mine: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    return [a.per_second / b.per_second for a, b in zip(mine, theirs, strict=True)]


def rate(runs: Sequence[Run]) -> float:
    return median([run.per_second for run in runs])


def cpu_ms(runs: Sequence[Run]) -> float:
    return 1000 * median([run.cpu_s / run.rows for run in runs])
