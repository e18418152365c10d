"""What measured levels of concurrency mean: where throughput stops to grow, which limits and which prices follow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from statistics import median
from typing import Final, Literal

GROWTH: Final = 1.05
"""A level that is not at least so many times as quick as the best before it no longer grows."""
NEAR: Final = 0.95
"""The fewest slots that reach this share of the best throughput are enough: more of them only make requests wait."""
BISECTIONS: Final = 5
FIRST_INPUT: Final = 512
INPUT_GROWS: Final = 4
BELIEVED: Final = 0.5
"""Of a level's time, that reading may have taken."""
PRICE_DIGITS: Final = 4

Unit = Literal["output tokens", "input tokens", "answers"]


@dataclass(frozen=True, slots=True)
class Round:
    """One repeat of one level: what was answered in how many seconds."""

    elapsed_s: float
    answers: int
    input_tokens: int
    output_tokens: int
    latencies_s: tuple[float, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """A model's throughput at one concurrency: medians of the repeats."""

    concurrency: int
    output_tps: float
    input_tps: float
    answers_ps: float
    latency_s: float
    faults: tuple[str, ...] = ()

    def figure(self, unit: Unit) -> float:
        """The throughput in a unit, a second."""
        return {"output tokens": self.output_tps, "input tokens": self.input_tps, "answers": self.answers_ps}[unit]


def level_of(concurrency: int, rounds: Sequence[Round]) -> Level:
    """The level that some repeats measured; zeros where nothing was answered."""
    good = [one for one in rounds if one.answers and one.elapsed_s > 0]
    faults = tuple(fault for one in rounds for fault in one.faults)
    if not good:
        return Level(concurrency, 0.0, 0.0, 0.0, 0.0, faults)
    return Level(
        concurrency,
        output_tps=median(one.output_tokens / one.elapsed_s for one in good),
        input_tps=median(one.input_tokens / one.elapsed_s for one in good),
        answers_ps=median(one.answers / one.elapsed_s for one in good),
        latency_s=median(latency for one in good for latency in one.latencies_s),
        faults=faults,
    )


def concurrencies(slots: int) -> list[int]:
    """1, 2, 4, ... up to the slots, and the slots themselves."""
    steps = [1]
    while steps[-1] * 2 < slots:
        steps.append(steps[-1] * 2)
    return [*steps, slots] if slots > 1 else steps


def still_grows(levels: Sequence[Level], unit: Unit) -> bool:
    """Whether it is worth while to try a higher level: the last one was better than all before, and nothing failed."""
    if not levels or levels[-1].faults or not levels[-1].answers_ps:
        return not levels
    before = max((level.figure(unit) for level in levels[:-1]), default=0.0)
    return levels[-1].figure(unit) >= GROWTH * before


def best_level(levels: Sequence[Level], unit: Unit) -> Level | None:
    """The lowest level without a fault that is about as quick as the best one; None where every one failed."""
    good = [level for level in levels if level.figure(unit) > 0 and not level.faults]
    if not good:
        return None
    best = max(level.figure(unit) for level in good)
    return next(level for level in good if level.figure(unit) >= NEAR * best)


def decode_speed(level: Level, prefill_tps: float | None) -> float:
    """Output tokens a second if a level did nothing but decode: the time that reading its prompts took is left out.

    Where reading would have taken more than half of it, its speed was measured by requests too short to fill the machine, and
    is believed less and less.
    """
    if not prefill_tps:
        return level.output_tps
    reading = min(1.0, level.input_tps / prefill_tps)
    return level.output_tps * (1 / (1 - reading) if reading <= BELIEVED else 1 / BELIEVED + 1 - 2 * reading)


def next_input(claimed: int, accepted: int, refused: int | None, steps: int) -> int | None:
    """The next length of input to try, in tokens, or None when enough is known.

    It grows up to the claimed length; once one was refused it halves what lies between, `steps` counting those tries.
    """
    if refused is None:
        return None if accepted >= claimed else min(claimed, max(FIRST_INPUT, INPUT_GROWS * accepted))
    if steps >= BISECTIONS or refused - accepted <= max(16, accepted // 32):
        return None
    return (accepted + refused) // 2


def input_limit(taken: int, context: int | None, answer: int) -> int:
    """The most input tokens that leave room for an answer of `answer` tokens, or a quarter of what the model holds if that is less.

    `taken` is the longest input that it took; `context` what it holds of a request in all, None where that is not known.
    """
    return taken if context is None else max(1, min(taken, context - min(answer, context // 4)))


def rates(usd_per_hour: Decimal, *, prefill_tps: float | None, decode_tps: float | None) -> dict[str, Decimal]:
    """US dollars per million input and output tokens that pay for the machine's hour at these speeds.

    An hour's reading and writing weigh apart: a token costs the time that it takes. Rounded up, so that the card never
    falls short of the bill.
    """
    speeds = {"input": prefill_tps, "output": decode_tps}
    return {name: _per(usd_per_hour, speed, 1_000_000) for name, speed in speeds.items() if speed}


def rate_a_request(usd_per_hour: Decimal, answers_ps: float) -> dict[str, Decimal]:
    """US dollars a request, for models whose requests are too small to count tokens."""
    return {"request": _per(usd_per_hour, answers_ps, 1)}


def rounded_s(seconds: float) -> float:
    """Seconds with three digits that mean something, at least a tenth of a millisecond."""
    return max(0.0001, float(f"{seconds:.3g}"))


def _per(usd_per_hour: Decimal, per_second: float, count: int) -> Decimal:
    exact = usd_per_hour / 3600 / Decimal(per_second) * count
    if not exact:
        return Decimal(0)
    return exact.quantize(Decimal((0, (1,), max(-12, exact.adjusted() - PRICE_DIGITS + 1))), rounding=ROUND_UP)
