"""What a request waits while every one is durable, at half of the rate that is asked for and at half of all that we can bear.

An open loop, so that no wait hides another.
"""

from __future__ import annotations

from typing import Final

from benchmarks.report import Row, Scale, at_most, median, percentile, told
from benchmarks.service import litellm_peer
from benchmarks.service.chat import CLIENTS, QUICK_ROUND_S, ROUND_S, TIMES, closed_rate
from benchmarks.service.generator import Generator, Told
from benchmarks.service.ours import service
from benchmarks.stack import fleet

SHARE: Final = 0.5
MEDIAN_MS: Final = 20.0
P99_MS: Final = 60.0


def measure(scale: Scale) -> list[Row]:
    seconds = QUICK_ROUND_S if scale.quick else ROUND_S
    with service(fleet()) as ours:
        generator = Generator.start(ours.stack)
        with litellm_peer.proxy(ours.stack) as peer:
            theirs = closed_rate(generator, peer.target, QUICK_ROUND_S)
        most = closed_rate(generator, ours.target, seconds)
        found: list[Row] = []
        for rate, of_what in (
            (SHARE * TIMES * theirs, f"half of {TIMES:g} times LiteLLM's {theirs:.4g}, the rate that chat must reach"),
            (SHARE * most, f"half of {most:.4g}, all that we can bear with {CLIENTS} callers"),
        ):
            rounds: list[Told] = []
            for _ in range(scale.rounds):
                since = ours.last_job()
                rounds.append(generator.timed(ours.target, rate, seconds))
                ours.check_books(since, len(rounds[-1].latencies_ms))
            found += rows(rounds, rate, of_what, seconds)
    return found


def rows(rounds: list[Told], rate: float, of_what: str, seconds: float) -> list[Row]:
    waits = [ms for one in rounds for ms in one.latencies_ms]
    late = [ms for one in rounds for ms in one.late_ms]
    shape = (
        f"{of_what}; at fixed times; {len(rounds)} runs of {seconds:g} s; counted from when each was due; the engine takes no time, so "
        "all of it is ours"
    )
    name = f"added latency at {rate:.4g} requests a second"
    return [
        at_most(f"{name}, median", median(waits), MEDIAN_MS, "ms", note=f"{shape}; {_each(rounds, 0.5)}"),
        at_most(f"{name}, p99", percentile(waits, 0.99), P99_MS, "ms", note=f"{len(waits)} requests; {_each(rounds, 0.99)}"),
        told(f"{name}, most", max(waits), "ms"),
        told(f"{name}: sent later than due, p99", percentile(late, 0.99), "ms", note="by the generator; it is counted as latency of ours"),
    ]  # fmt: skip


def _each(rounds: list[Told], share: float) -> str:
    return "runs " + ", ".join(f"{percentile(one.latencies_ms, share):.3g}" for one in rounds)
