"""No-op jobs a second, from the first submission until all are recorded, beside Celery and Dramatiq."""

from __future__ import annotations

from benchmarks import arms
from benchmarks.report import Row, Scale, at_least, median, spread, told
from benchmarks.stack import Stack, fleet


def measure(scale: Scale) -> list[Row]:
    jobs = scale.of(20_000)
    with Stack(fleet()) as stack:
        runs = arms.rounds(stack, ("rightsize", "celery", "dramatiq", "http"), jobs, scale.rounds)
    rates = {arm: [one.per_second for one in ones] for arm, ones in runs.items()}
    ours, celery, dramatiq = (median(rates[arm]) for arm in ("rightsize", "celery", "dramatiq"))
    queued = median([one.told["queued_s"] for one in runs["rightsize"]])
    ended = median([one.told["ended_s"] for one in runs["rightsize"]])
    said = f"{jobs} jobs, one worker; queued after {queued:.2f} s, output file written after {ended:.2f} s; {spread(rates['rightsize'])}"
    return [
        told("jobs a second", ours, "1/s", note=said),
        at_least("times Celery 5.7", ours / celery, 4.0, "x", baseline=celery,
                 note=f"prefork 2, Redis broker with AOF, results in Redis; baseline in 1/s; {spread(rates['celery'])}"),
        at_least("times Dramatiq 2.2", ours / dramatiq, 1.0, "x", baseline=dramatiq,
                 note=f"2 processes, no results stored; baseline in 1/s; {spread(rates['dramatiq'])}"),
        told("jobs a second over HTTP", median(rates["http"]), "1/s",
             note=f"upload, batch, polled until all are recorded; {spread(rates['http'])}"),
    ]  # fmt: skip
