"""What a batch will cost, read, write and take before it runs: by tier and in all, each with an interval that holds 80% of what comes.

Costs are what the caller pays: a job that fails is free. The statistics are floating point, and the sums of money are rounded to
micro-dollars in the end: a forecast is no ledger. The most that can be charged is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final

from orchestrator.contracts import Tier
from orchestrator.forecasting.history import Basis, Histories, Weights
from orchestrator.forecasting.load import Load, span, whole_span
from orchestrator.forecasting.prediction import Bounds
from orchestrator.forecasting.rows import Group, Rows
from orchestrator.forecasting.sums import TIME, Sums
from orchestrator.pricing import MILLION, ZERO, RateCard

MICRO: Final = Decimal("0.000001")
SUCCEEDED: Final[Weights] = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Usd:
    """A sum of money with its interval."""

    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Figures:
    """What some rows will come to."""

    jobs: int
    failed: float
    """So many of them are expected to fail."""
    input_tokens: Bounds
    output_tokens: Bounds
    """Thoughts included."""
    cost_usd: Usd
    at_most_usd: Decimal
    """The sum of what may be held for them: they cannot be charged more."""
    seconds: Bounds
    """Until the last of them has ended, if they came in now."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the forecast of some rows stands on."""

    tier: Tier
    model: str
    task: str | None
    jobs: int
    basis: Basis
    seen_jobs: int
    """Finished jobs that were looked at."""
    seen_groups: int
    """Batches, models or tasks that they belong to."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a batch."""

    whole: Figures
    tiers: Mapping[Tier, Figures]
    grounds: tuple[Ground, ...]


def forecast(rows: Rows, histories: Histories, cards: Mapping[str, RateCard], loads: Mapping[str, Load]) -> Forecast:
    """The forecast of counted rows. `cards` and `loads` are by model, and hold every model that the rows name."""
    sums = Sums(histories, {model: load.latency_s for model, load in loads.items()})
    by_tier: dict[Tier, list[Group]] = {}
    for group in rows:
        by_tier.setdefault(group.tier, []).append(group)
    return Forecast(
        whole=_figures(list(rows), sums, cards, loads, whole=True),
        tiers={tier: _figures(by_tier[tier], sums, cards, loads) for tier in Tier if tier in by_tier},
        grounds=tuple(_ground(group, sums) for group in rows),
    )


def _figures(
    groups: Sequence[Group], sums: Sums, cards: Mapping[str, RateCard], loads: Mapping[str, Load], *, whole: bool = False
) -> Figures:  # fmt: skip
    # A row that goes on to another tier is work of both, and still one row.
    jobs = sum(group.jobs - (group.again if whole else 0) for group in groups)
    at_most = sum((group.hold_usd + (ZERO if whole else group.again_usd) for group in groups), ZERO)
    most_tokens = sum(group.per_job(group.choices) * (group.output_limit + group.thought_limit) for group in groups)
    succeeded = sums.of(groups, lambda _: SUCCEEDED).expected
    return Figures(
        jobs=jobs,
        failed=max(0.0, jobs - succeeded),
        input_tokens=sums.of(groups, _read),
        output_tokens=Bounds(*(min(tokens, most_tokens) for tokens in sums.of(groups, _written))),
        cost_usd=_usd(sums.of(groups, lambda group: _costs(group, cards[group.model])), at_most),
        at_most_usd=at_most.quantize(MICRO, ROUND_CEILING),
        seconds=_seconds(groups, sums, loads),
    )


def _read(group: Group) -> Weights:
    return (0.0, group.per_job(group.readings), 0.0, 0.0, 0.0, 0.0)


def _written(group: Group) -> Weights:
    answers = group.per_job(group.choices)
    return (0.0, 0.0, 0.0, answers, answers, 0.0)


def _costs(group: Group, card: RateCard) -> Weights:
    """What a job costs for each unit of what is measured, in US dollars: `pricing.price`, which is linear, as weights."""
    readings, answers = group.per_job(group.readings), group.per_job(group.choices)
    beside = group.images * card.image + group.audio_seconds * card.audio_second
    return (
        float(card.request) + group.per_job(beside),
        readings * float(card.input / MILLION),
        readings * float((card.cached - card.input) / MILLION),
        answers * float(card.output / MILLION),
        answers * float(card.reasoning / MILLION),
        0.0,
    )


def _usd(sum_usd: Bounds, at_most: Decimal) -> Usd:
    """A sum in micro-dollars; nothing of it is above what can be charged.

    Bounds are rounded away from what is expected, but where nothing lies between them: that is the noise of floating point.
    """
    expected = Decimal(sum_usd.expected)
    rounded = (
        Decimal(value).quantize(MICRO, rounding if abs(Decimal(value) - expected) >= MICRO else ROUND_HALF_EVEN)
        for value, rounding in zip(sum_usd, (ROUND_HALF_EVEN, ROUND_FLOOR, ROUND_CEILING), strict=True)
    )
    return Usd(*(min(value, at_most.quantize(MICRO, ROUND_CEILING)) for value in rounded))


def _seconds(groups: Sequence[Group], sums: Sums, loads: Mapping[str, Load]) -> Bounds:
    """Until the last model of some rows is done with them: each works through its own."""
    by_model: dict[str, list[Group]] = {}
    for group in groups:
        by_model.setdefault(group.model, []).append(group)
    spans = [
        span(sums.of(some, lambda _: TIME), sum(group.jobs for group in some), loads[model])
        for model, some in by_model.items()
    ]
    return whole_span(spans, sum(group.jobs for group in groups))


def _ground(group: Group, sums: Sums) -> Ground:
    found = sums.sources(group)[0].found
    if found is None:
        return Ground(group.tier, group.model, group.task, group.jobs, Basis.NO_HISTORY, 0, 0)
    seen = found.history
    return Ground(group.tier, group.model, group.task, group.jobs, found.basis, int(seen.whole.n), len(seen.groups))
