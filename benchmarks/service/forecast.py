"""How good the interval of a forecast is: the share of made-up batches whose true cost falls into it, and how wide it is.

Each trial makes up some tasks, earlier batches of theirs, and a further one, whose cost it then compares with the forecast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Final

from benchmarks.report import Row, Scale, median, told
from orchestrator.contracts import Usage
from orchestrator.eligibility import estimate
from orchestrator.fleet import Model, parse
from orchestrator.forecasting import Figures, Histories, History, Load, Moments, Rows, forecast
from orchestrator.hints import Hints
from orchestrator.pricing import ZERO, price
from orchestrator.requests import CHAT, Features

TRIALS: Final = 200
LEAST, MOST = 0.72, 0.88
"""Of the intervals, which should hold 80%, so many may hold the truth: what 200 trials tell apart."""
SEED: Final = 20_260_101
DAY: Final = datetime.now(UTC).date()
LIMIT: Final = 1_024
FLEET: Final = {
    "models": {
        "talker": {"tier": "llm", "engine": "simulated", "rates": [{"input": "0.20", "cached": "0.05", "output": "0.80"}]},
        "thinker": {
            "tier": "rlm", "engine": "simulated", "reasoning": {"medium_tokens": 2_048},
            "rates": [{"input": "2.00", "output": "8.00"}],
        },
    }
}  # fmt: skip
MODELS: Final = parse(FLEET, "the benchmark's fleet").fleet.by_name

Length = Callable[[Random, int], float]
"""Tokens of one answer, for a prompt of so many."""


@dataclass(frozen=True, slots=True)
class Task:
    """A made-up task: how long its prompts and answers are, and how its batches differ."""

    name: str
    prompt: tuple[float, float]
    """The median of its expected input tokens, and the standard deviation of their logarithm."""
    answer: Length
    thought: Length | None = None
    batches_differ: float = 0.0
    """The standard deviation of the logarithm of what is common to a batch's answers."""
    ratio: float = 1.0
    """Tokens read for each that was expected."""
    fails: float = 0.0

    @property
    def model(self) -> Model:
        return MODELS["talker" if self.thought is None else "thinker"]


def _lognormal(middle: float, sd: float) -> Length:
    return lambda draw, _: middle * math.exp(draw.gauss(0, sd))


def _uniform(low: int, high: int) -> Length:
    return lambda draw, _: draw.randint(low, high)


def _by_input(share: float, sd: float) -> Length:
    return lambda draw, read: 10 + share * read * math.exp(draw.gauss(0, sd))


def _bimodal(often: int, seldom: int) -> Length:
    return lambda draw, _: (seldom if draw.random() < 0.2 else often) * draw.uniform(0.8, 1.2)


TASKS: Final = (
    Task("label", (120, 0.5), _uniform(3, 3)),
    Task("triage", (90, 0.4), _uniform(20, 180), ratio=1.15),
    Task("triage-in-turns", (90, 0.4), _uniform(20, 180), batches_differ=0.15),
    Task("reply", (200, 0.6), _lognormal(150, 0.6)),
    Task("reply-by-season", (200, 0.6), _lognormal(150, 0.6), batches_differ=0.25, fails=0.03),
    Task("summary", (900, 0.8), _by_input(0.2, 0.3), ratio=0.9),
    Task("summary-by-source", (900, 0.8), _by_input(0.2, 0.3), batches_differ=0.2, ratio=1.3),
    Task("extract", (400, 0.3), _bimodal(8, 400)),
    Task("extract-in-turns", (400, 0.3), _bimodal(8, 400), batches_differ=0.1, fails=0.01),
    Task("plan", (300, 0.5), _lognormal(120, 0.3), _lognormal(500, 0.7), batches_differ=0.1),
)


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of one task as it turned out: each row's features, and its measures as `forecasting.MEASURES` has them."""

    task: Task
    jobs: Sequence[tuple[Features, tuple[float, ...]]]

    def moments(self) -> Moments:
        return Moments.of((features.input_tokens, measures) for features, measures in self.jobs)

    def cost_usd(self) -> Decimal:
        """What the caller pays for it."""
        card = self.task.model.card_on(DAY)
        usages = (
            Usage(int(read), 0, int(said + thought), int(thought))
            for _, (ok, read, _, said, thought, _) in self.jobs
            if ok
        )
        return sum((price(usage, card) for usage in usages), ZERO)


@dataclass(frozen=True, slots=True)
class Trial:
    """One forecast, and what came."""

    figures: Figures
    true_usd: Decimal

    @property
    def holds(self) -> bool:
        return self.figures.cost_usd.low <= self.true_usd <= self.figures.cost_usd.high

    @property
    def width(self) -> float:
        """Of the interval, against what was expected."""
        cost = self.figures.cost_usd
        return float((cost.high - cost.low) / cost.expected)


@dataclass(frozen=True, slots=True)
class Score:
    """How good the intervals of some trials were."""

    trials: int
    share: float
    """Of those whose interval held the truth."""
    width: float
    """Their median width, against what was expected."""


def scored(trials: Iterable[Trial]) -> Score:
    """The score of trials, wherever they come from: made up here, or of batches that ran."""
    all_ = list(trials)
    return Score(len(all_), sum(one.holds for one in all_) / len(all_), median([one.width for one in all_]))


def made(draw: Random, task: Task, jobs: int) -> Made:
    """A batch of a task, as it may turn out."""
    effect = math.exp(draw.gauss(0, task.batches_differ))
    return Made(task, [_job(draw, task, effect) for _ in range(jobs)])


def _job(draw: Random, task: Task, effect: float) -> tuple[Features, tuple[float, ...]]:
    middle, sd = task.prompt
    read = max(8, round(middle * math.exp(draw.gauss(0, sd))))
    features = Features(CHAT, "auto", Hints(task=task.name), read, LIMIT, 1, None, 0, 0, ZERO, (), 0, read)
    if draw.random() < task.fails:
        return features, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    said = min(LIMIT, max(1, round(effect * task.answer(draw, read))))
    thought = min(2_048, max(1, round(effect * task.thought(draw, read)))) if task.thought else 0
    actual = round(read * task.ratio * draw.uniform(0.9, 1.1)) + 7
    return features, (1.0, float(actual), 0.0, float(said), float(thought), 0.2 + 0.01 * (said + thought))


def _between(draw: Random, low: int, high: int) -> int:
    """A number, as likely between 10 and 100 as between 100 and 1,000."""
    return round(math.exp(draw.uniform(math.log(low), math.log(high))))


def trials(count: int, seed: int = SEED) -> Iterator[Trial]:
    """Batches of one to three tasks, after one to twelve earlier ones of each."""
    draw = Random(seed)
    for _ in range(count):
        tasks = draw.sample(TASKS, draw.randint(1, 3))
        known = {(task.name, task.model.name): _history(draw, task) for task in tasks}
        sizes = [max(1, _between(draw, 5, 2_000) // len(tasks)) for _ in tasks]
        yield trial(Histories(known), [made(draw, task, size) for task, size in zip(tasks, sizes, strict=True)])


def _history(draw: Random, task: Task) -> History:
    jobs, batches = _between(draw, 20, 2_000), draw.randint(1, 12)
    cuts = sorted(draw.sample(range(1, jobs), batches - 1))
    sizes = [end - start for start, end in zip([0, *cuts], [*cuts, jobs], strict=True)]
    return History(tuple(made(draw, task, size).moments() for size in sizes))


def trial(histories: Histories, batch: Sequence[Made]) -> Trial:
    """Forecast a batch, and hold it against how it turned out."""
    rows = Rows()
    for part in batch:
        for features, _ in part.jobs:
            rows.add(features, part.task.model, estimate(features, part.task.model, DAY))
    cards = {name: model.card_on(DAY) for name, model in MODELS.items()}
    loads = {name: Load(16.0, 1.0) for name in MODELS}
    found = forecast(rows, histories, cards, loads)
    return Trial(found.whole, sum((part.cost_usd() for part in batch), ZERO))


def unknown(count: int, seed: int = SEED) -> Iterator[Trial]:
    """Batches of a task that was never seen, on a model that others ran on."""
    draw = Random(seed)
    talkers = [task for task in TASKS if task.thought is None]
    for _ in range(count):
        task, *others = draw.sample(talkers, draw.randint(2, 6))
        known = {(other.name, other.model.name): _history(draw, other) for other in others}
        yield trial(Histories(known), [made(draw, task, _between(draw, 5, 2_000))])


def measure(scale: Scale) -> list[Row]:
    known, new = scored(trials(scale.of(TRIALS))), scored(unknown(scale.of(TRIALS)))
    said = f"{known.trials} made-up batches of 1 to 3 tasks, 5 to 2,000 rows; 20 to 2,000 earlier jobs of each"
    return [
        Row("true costs within the interval", round(100 * known.share, 1), "%", f"{100 * LEAST:g} to {100 * MOST:g}",
            LEAST <= known.share <= MOST, note=said),
        told("median width of the interval", 100 * known.width, "%", note="of the expected cost"),
        told("true costs within the interval, tasks never seen", 100 * new.share, "%", note="only other tasks' jobs are known"),
        told("median width of the interval, tasks never seen", 100 * new.width, "%", note="of the expected cost"),
    ]  # fmt: skip
