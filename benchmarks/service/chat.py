"""Interactive chat in a closed loop: callers who each ask again as soon as they are answered, beside LiteLLM's proxy.

Both arms run for the whole benchmark, so that neither pays for its start; they are asked in turns by the same generator.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.report import Row, Scale, at_least, median, percentile, spread, told
from benchmarks.service import litellm_peer
from benchmarks.service.generator import Generator, Target, Told, trivial
from benchmarks.service.ours import busy_s, service
from benchmarks.stack import fleet

CLIENTS: Final = 64
TIMES: Final = 2.0
ROUND_S: Final = 15.0
QUICK_ROUND_S: Final = 4.0
WARM_UP_S: Final = 2.0


@dataclass(slots=True)
class Arm:
    """The rounds of one service."""

    rounds: list[Told] = field(default_factory=list)
    cpu_s: list[Mapping[str, float]] = field(default_factory=list)
    """Of each part in each round."""
    elsewhere: list[float] = field(default_factory=list)
    """The share of the machine that neither these parts nor the generator used: a round beside other work says little."""

    @property
    def rates(self) -> list[float]:
        return [one.per_second for one in self.rounds]

    @property
    def latencies_ms(self) -> list[float]:
        return [ms for one in self.rounds for ms in one.latencies_ms]

    def cpu_ms(self) -> dict[str, float]:
        """CPU-milliseconds of one request by part: the median of the rounds."""
        return {
            part: median([1000 * used[part] / len(one.latencies_ms) for used, one in zip(self.cpu_s, self.rounds, strict=True)])
            for part in self.cpu_s[0]
        }  # fmt: skip

    def add_round(
        self, generator: Generator, target: Target, seconds: float, cpu_s: Callable[[], Mapping[str, float]]
    ) -> Told:
        """Warm up, then measure."""
        generator.closed(target, CLIENTS, WARM_UP_S)
        before, busy, began = cpu_s(), busy_s(), time.monotonic()
        told = generator.closed(target, CLIENTS, seconds)
        passed, busy = time.monotonic() - began, busy_s() - busy
        used = {part: after - before[part] for part, after in cpu_s().items()}
        self.rounds.append(told)
        self.cpu_s.append(used)
        self.elsewhere.append(max(0.0, busy - sum(used.values()) - told.cpu_s) / passed / (os.cpu_count() or 1))
        return told


def measure(scale: Scale) -> list[Row]:
    seconds = QUICK_ROUND_S if scale.quick else ROUND_S
    with service(fleet()) as ours, litellm_peer.proxy(ours.stack) as peer:
        generator = Generator.start(ours.stack)
        with trivial(ours.stack, ours.target.body) as target:
            ceiling = generator.closed(target, CLIENTS, QUICK_ROUND_S)
        ours_arm, peer_arm = Arm(), Arm()
        for _ in range(scale.rounds):
            since = ours.last_job()
            told = ours_arm.add_round(generator, ours.target, seconds, ours.cpu_s)
            ours.check_books(since, len(told.latencies_ms))
            peer_arm.add_round(generator, peer.target, seconds, peer.cpu_s)
    return rows(ours_arm, peer_arm, ceiling, seconds)


def closed_rate(generator: Generator, target: Target, seconds: float) -> float:
    """Requests a second of a warm service with `CLIENTS` callers."""
    generator.closed(target, CLIENTS, WARM_UP_S)
    return generator.closed(target, CLIENTS, seconds).per_second


def rows(ours: Arm, peer: Arm, ceiling: Told, seconds: float) -> list[Row]:
    rate, theirs = median(ours.rates), median(peer.rates)
    by_round = [one / other for one, other in zip(ours.rates, peer.rates, strict=True)]
    shape = (
        f"{CLIENTS} callers at once, {len(ours.rounds)} rounds of {seconds:g} s in turns, a model that answers at once"
    )
    name = f"LiteLLM {litellm_peer.VERSION}"
    own_ms = 1000 * sum(one.cpu_s for one in ours.rounds) / len(ours.latencies_ms)
    return [
        at_least("interactive chat, times LiteLLM's proxy", rate / theirs, TIMES, "x", baseline=theirs,
                 note=f"{shape}; baseline in 1/s; of the rounds {spread(by_round)}; {name}: one worker process, its own mock as the "
                      "backend, no callbacks, no database: nothing of a request is durable, and it has no row and no ledger entry"),
        told("interactive chat", rate, "1/s",
             note=f"one process each of API, orchestrator and worker; every request committed with its charge; {spread(ours.rates)}"),
        told(name, theirs, "1/s", note=spread(peer.rates)),
        *latency_rows("interactive chat", ours.latencies_ms),
        *latency_rows(name, peer.latencies_ms),
        told("CPU of a request, all parts", sum(ours.cpu_ms().values()), "ms", note=parts(ours.cpu_ms())),
        told(f"CPU of a request, {name}", sum(peer.cpu_ms().values()), "ms"),
        told("the machine's CPU that others used meanwhile", 100 * median(ours.elsewhere + peer.elsewhere), "%",
             note=f"in rounds of ours {shares(ours.elsewhere)}, of LiteLLM's {shares(peer.elsewhere)}; the idle arm is among them. Beside "
                  "other work one process gets less of two cores than five do: only a quiet machine compares them fairly"),
        told("the generator's ceiling", ceiling.per_second, "1/s",
             note=f"the same generator against a server that does nothing; it used {own_ms:.2f} ms of CPU for a request of ours"),
    ]  # fmt: skip


def latency_rows(name: str, latencies_ms: Sequence[float]) -> list[Row]:
    return [
        told(f"{name}, latency p50", median(latencies_ms), "ms", note=f"with {CLIENTS} callers who never pause: most of it is queueing"),
        told(f"{name}, latency p99", percentile(latencies_ms, 0.99), "ms"),
    ]  # fmt: skip


def parts(cpu_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {ms:.2f}" for part, ms in cpu_ms.items())


def shares(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.0f}%" for value in values)
