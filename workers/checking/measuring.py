"""How quick a model is: rounds of requests at rising concurrency, reading apart from writing, and the longest input."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import EngineFault
from workers.checking import figures
from workers.checking.asking import ANSWER_TOKENS, Maker
from workers.checking.figures import Level, Round, Unit
from workers.engines.base import Answer, Engine, EngineRequest

REPEATS: Final = 3
LOAD_INPUT: Final = 32
READ_INPUT: Final = 512
MARGIN: Final = 4
"""Tokens that an input stays below the length that is tried: one of answer, and the number that it begins with may have some more."""
FEW_WORDS: Final = (16, 80)
"""Of two inputs, by which it is seen how many tokens a word has, and how many the template adds."""
LONG_LEVEL_S: Final = 30.0
OVERTIME_S: Final = 10.0
LONGEST_WAIT_S: Final = 20.0
"""No longer input is tried once one took this long: it is left at what the model claims."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reads:
    """The tokens of an input by its words: some for the template, and some for each word."""

    beside: float
    each: float

    def words_in(self, tokens: int) -> int:
        """Words of an input that has so many tokens, or a few less."""
        return max(1, int((tokens - self.beside) / self.each))


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest input that a model takes, in tokens, whether a longer one was refused, and how that is known."""

    tokens: int
    is_all: bool
    how: str


async def rise(engine: Engine, maker: Maker, unit: Unit, seconds: float, tell: Tell) -> list[Level]:
    """Measure 1, 2, 4, ... requests at once, up to the engine's slots, for as long as throughput grows."""
    levels: list[Level] = []
    for concurrency in figures.concurrencies(engine.limits().slots):
        if not figures.still_grows(levels, unit):
            break
        tell(f"{concurrency} at once")
        levels.append(await level(engine, maker, concurrency, seconds))
        if not figures.still_grows(levels, unit) and not levels[-1].faults:
            # Other work on the machine only ever makes a level slower: one that disappoints is measured again.
            tell(f"{concurrency} at once, again")
            again = await level(engine, maker, concurrency, seconds)
            levels[-1] = max(levels[-1], again, key=lambda one: one.figure(unit))
    return levels


async def level(
    engine: Engine, maker: Maker, concurrency: int, seconds: float, *, size: int = LOAD_INPUT,
    most: int = ANSWER_TOKENS,
) -> Level:  # fmt: skip
    """One level: the median of some rounds, which together take about so many seconds, or one request's time each.

    Where one request takes very long, fewer rounds must do.
    """
    rounds = []
    for _ in range(REPEATS):
        rounds.append(await _round(engine, maker, concurrency, seconds / REPEATS, size, most))
        if rounds[-1].faults or sum(one.elapsed_s for one in rounds) > max(seconds, LONG_LEVEL_S):
            break
    return figures.level_of(concurrency, rounds)


async def reading(engine: Engine, maker: Maker, concurrency: int, seconds: float) -> float | None:
    """Input tokens a second while the model does nothing but read; None where it refuses."""
    limits = engine.limits()
    size = max(LOAD_INPUT, min(READ_INPUT, limits.max_input_tokens // 2))
    one = await _round(engine, maker, 1, 0.0, size, 1)
    if one.faults or not one.answers:
        return None
    at_once = max(1, min(concurrency, int(seconds / max(one.elapsed_s, 1e-6))))
    found = await level(engine, maker, at_once, seconds, size=size, most=1)
    return found.input_tps or None


async def longest_input(engine: Engine, maker: Maker, claimed: int, tell: Tell) -> Longest:
    """The longest input up to `claimed` that the model takes."""
    accepted, refused, steps, longest_s = 0, None, 0, 0.0
    reads = await _reads(engine, maker)
    while (size := figures.next_input(claimed, accepted, refused, steps)) is not None:
        if longest_s > LONGEST_WAIT_S:
            return Longest(claimed, False, f"tried up to {accepted:,}, which took {longest_s:.0f} s")
        tell(f"an input of {size:,} tokens")
        steps += refused is not None
        began = time.monotonic()
        try:
            await perform(engine, maker(reads.words_in(size - MARGIN), 1))
        except EngineFault as fault:
            if fault.retryable:
                return Longest(claimed, False, f"{size:,} tokens could not be tried: {fault.message}")
            refused = size
        else:
            accepted = size
        longest_s = max(longest_s, time.monotonic() - began)
    if refused is None:
        return Longest(claimed, False, f"{claimed:,} tokens were taken")
    return Longest(max(1, accepted), True, f"{refused:,} tokens were refused")


async def _reads(engine: Engine, maker: Maker) -> Reads:
    """How the model counts, from two short inputs. A word is taken for a token where it refuses one, or counts nothing sensible."""
    counted = []
    for size in FEW_WORDS:
        try:
            counted.append((await perform(engine, maker(size, 1))).usage.input_tokens)
        except EngineFault:
            return Reads(0.0, 1.0)
    each = (counted[1] - counted[0]) / (FEW_WORDS[1] - FEW_WORDS[0])
    return Reads(max(0.0, counted[0] - each * FEW_WORDS[0]), each) if each > 0 else Reads(0.0, 1.0)


async def perform(engine: Engine, request: EngineRequest) -> Answer:
    """Run one request; one that an engine has not ended in its time is a fault, so that a check never hangs."""
    try:
        async with asyncio.timeout(request.seconds_left + OVERTIME_S):
            return await engine.perform(request)
    except TimeoutError:
        message = f"The engine had not ended a request {OVERTIME_S:g} s after its time."
        raise EngineFault(message, code="hang", retryable=False, http_status=504) from None


async def _round(engine: Engine, maker: Maker, concurrency: int, seconds: float, size: int, most: int) -> Round:
    """So many requests at once, each followed by the next until the time is up; each runs at least once."""
    latencies: list[float] = []
    faults: list[str] = []
    tokens = [0, 0]
    began = time.monotonic()

    async def one_after_the_other() -> None:
        while True:
            started = time.monotonic()
            try:
                answer = await perform(engine, maker(size, most))
            except EngineFault as fault:
                faults.append(f"{fault.fault_code}: {fault.message}")
                return
            now = time.monotonic()
            latencies.append(now - started)
            tokens[0] += answer.usage.input_tokens
            tokens[1] += answer.usage.output_tokens
            if now - began >= seconds or faults:
                return
            await asyncio.sleep(0)  # an engine that never waits would leave the others no turn

    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    elapsed_s = time.monotonic() - began
    return Round(elapsed_s, len(latencies), tokens[0], tokens[1], tuple(latencies), tuple(faults))
