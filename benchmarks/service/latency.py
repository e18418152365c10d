"""What a request waits at half of the load that we can bear, while every one is durable: an open loop, so that no wait hides another."""

from __future__ import annotations

from typing import Final

from benchmarks.report import Row, Scale, at_most, median, percentile, told
from benchmarks.service.chat import CLIENTS, QUICK_ROUND_S, ROUND_S, closed_rate
from benchmarks.service.generator import Generator, Told
from benchmarks.service.ours import service
from benchmarks.stack import fleet

SHARE: Final = 0.5
MEDIAN_MS: Final = 20.0
P99_MS: Final = 60.0


def measure(scale: Scale) -> list[Row]:
    seconds = QUICK_ROUND_S if scale.quick else ROUND_S
    rounds: list[Told] = []
    with service(fleet()) as ours:
        generator = Generator.start(ours.stack)
        most = closed_rate(generator, ours.target, seconds)
        for _ in range(scale.rounds):
            since = ours.last_job()
            rounds.append(generator.timed(ours.target, SHARE * most, seconds))
            ours.check_books(since, len(rounds[-1].latencies_ms))
    return rows(rounds, most, seconds)


def rows(rounds: list[Told], most: float, seconds: float) -> list[Row]:
    waits = [ms for one in rounds for ms in one.latencies_ms]
    late = [ms for one in rounds for ms in one.late_ms]
    shape = (
        f"{SHARE * most:.4g} requests a second at fixed times, half of {most:.4g} with {CLIENTS} callers; {len(rounds)} runs of "
        f"{seconds:g} s; counted from when each was due; the engine takes no time, so all of it is ours"
    )
    return [
        at_most("added latency at half load, median", median(waits), MEDIAN_MS, "ms",
                note=f"{shape}; {_each(rounds, 0.5)}"),
        at_most("added latency at half load, p99", percentile(waits, 0.99), P99_MS, "ms",
                note=f"{len(waits)} requests; {_each(rounds, 0.99)}"),
        told("added latency at half load, most", max(waits), "ms"),
        told("sent later than due, p99", percentile(late, 0.99), "ms", note="by the generator; it is counted as latency of ours"),
    ]  # fmt: skip


def _each(rounds: list[Told], share: float) -> str:
    return "runs " + ", ".join(f"{percentile(one.latencies_ms, share):.3g}" for one in rounds)
