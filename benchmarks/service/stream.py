"""What streaming adds to the engine's own pace: the same streams from the engine alone and over HTTP, in OpenAI's form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks.report import Row, Scale, at_most, median, percentile, told
from benchmarks.service.generator import PATH, Generator
from benchmarks.service.ours import BODY, service
from orchestrator import ids
from orchestrator.fleet import load
from workers.engines import open_engine
from workers.engines.base import Engine, EngineRequest

CLIENTS: Final = 8
EACH: Final = 40
WARM_UPS: Final = 2
FIRST_MS: Final = 15.0
FURTHER_MS: Final = 2.0
LATENCY_S: Final = 1.05
"""Of a whole answer: a piece about every 50 ms, the pace of a large model."""
FLEET: Final = f"""
[models.noop]
tier = "llm"
engine = "simulated"
slots = 64
expected_latency_s = {LATENCY_S}
[models.noop.simulate]
latency_s = [{LATENCY_S}, {LATENCY_S}]
output_tokens = [64, 64]
[[models.noop.rates]]
request = "0.001"
"""
STREAMED: Final = {**BODY, "stream": True}

Pieces = Sequence[Sequence[float]]
"""For each stream, when each of its pieces came: milliseconds from the request."""


def measure(scale: Scale) -> list[Row]:
    each = scale.of(EACH)
    with service(FLEET, STREAMED) as ours:
        alone = asyncio.run(engine_alone(ours.stack.config, each))
        generator = Generator.start(ours.stack)
        generator.streams(ours.target, CLIENTS, WARM_UPS, LATENCY_S)
        since = ours.last_job()
        found = generator.streams(ours.target, CLIENTS, each, LATENCY_S).pieces_ms
        ours.check_books(since, len(found))
    return rows(found, alone)


async def engine_alone(config: Path, each: int) -> Pieces:
    """The same number of streams at once, without queue, database or HTTP."""
    model = load(config).fleet.named("noop")
    engine = open_engine(model, config.parent)
    await engine.load()
    try:
        callers = await asyncio.gather(*(_streams(engine, WARM_UPS + each, caller) for caller in range(CLIENTS)))
    finally:
        await engine.close()
    return [one for streams in callers for one in streams[WARM_UPS:]]


async def _streams(engine: Engine, count: int, caller: int) -> list[list[float]]:
    """Some streams, one after another; callers begin spread over the time of one."""
    await asyncio.sleep(LATENCY_S * caller / CLIENTS)
    found: list[list[float]] = []
    for _ in range(count):
        request = EngineRequest(ids.uuid7().hex, PATH, dict(BODY), None, 600.0, interactive=True)
        began = time.perf_counter()
        found.append([1000 * (time.perf_counter() - began) async for chunk in engine.stream(request) if chunk.delta])
    return found


def rows(found: Pieces, alone: Pieces) -> list[Row]:
    usual = median(gaps(alone))
    beyond, own = [gap - usual for gap in gaps(found)], [gap - usual for gap in gaps(alone)]
    first, own_first = median(firsts(found)), median(firsts(alone))
    shape = f"{len(found)} streams, {CLIENTS} at once, {median([len(one) for one in found]):g} pieces each; the engine alone gives {median([len(one) for one in alone]):g}"
    return [
        at_most("added to the first token, median", first - own_first, FIRST_MS, "ms", baseline=own_first,
                note=f"{shape}; it comes after {first:.1f} ms; baseline is the engine alone"),
        told("added to the first token, p99", percentile(firsts(found), 0.99) - percentile(firsts(alone), 0.99), "ms"),
        at_most("added to each further token, mean", late(beyond) - late(own), FURTHER_MS, "ms", baseline=usual,
                note="the mean of what gaps between pieces are longer than the engine's usual one, less the same of the engine "
                     "alone: pieces that come together count as late; baseline is that usual gap"),
        told("added to a further token, p99", percentile(beyond, 0.99) - percentile(own, 0.99), "ms"),
        told("added to the last token, median", median(lasts(found)) - median(lasts(alone)), "ms", note="from the request on"),
    ]  # fmt: skip


def firsts(streams: Pieces) -> list[float]:
    return [one[0] for one in streams]


def lasts(streams: Pieces) -> list[float]:
    return [one[-1] for one in streams]


def gaps(streams: Pieces) -> list[float]:
    """Between each piece and the next."""
    return [after - before for one in streams for before, after in pairwise(one)]


def late(beyond: Sequence[float]) -> float:
    """The mean of what came late; what came early does not make up for it."""
    return sum(max(0.0, one) for one in beyond) / max(1, len(beyond))
