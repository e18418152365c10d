"""CPU-seconds for 1,000 no-op jobs: caller, orchestrator, worker and both servers, beside Celery likewise."""

from __future__ import annotations

from benchmarks import arms
from benchmarks.report import Row, Scale, at_most, median, spread
from benchmarks.stack import Stack, fleet


def measure(scale: Scale) -> list[Row]:
    jobs = scale.of(10_000)
    with Stack(fleet()) as stack:
        runs = arms.rounds(stack, ("rightsize", "celery"), jobs, scale.rounds)
    used = {arm: [one.cpu_s / jobs * 1000 for one in ones] for arm, ones in runs.items()}
    ours, celery = median(used["rightsize"]), median(used["celery"])
    return [
        at_most("CPU for 1,000 jobs", ours, celery / 3, "CPU-s", baseline=celery,
                note=f"with the output file; {spread(used['rightsize'])}; Celery {spread(used['celery'])}"),
        at_most("share of Celery's CPU", ours / celery, 1 / 3, "x", baseline=1.0, note=f"{jobs} jobs a run"),
    ]  # fmt: skip
