"""The figures of a batch of documents, from its result lines in one pass and in bounded memory. Pure.

Counts, sums and money are exact. Medians are within 1% (times are counted in classes that are 2% wide), and of the points of the plot a
fair sample is kept of each tier.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from orchestrator.delivery.answers import Line, Result, result_of
from orchestrator.delivery.columns import Column, Schema, columns_of, is_filled, reviews, told_columns
from orchestrator.delivery.failures import Failures
from orchestrator.delivery.plain import one_line

DEAREST: Final = 10
POINTS: Final = 400
"""Of each tier."""
MOST_TIERS: Final = 12
MOST_MODELS: Final = 60
MOST_KINDS: Final = 40
MOST_FIELDS: Final = 300
MOST_NAME: Final = 120
OTHER: Final = "other"
UNTIERED: Final = "none"
"""Where a line names no tier: a document that could not be read never came to one."""
_STEP: Final = math.log(1.02)
_LEAST_S: Final = 1e-6


class Times:
    """Times by classes that are 2% wide: their number, sum and percentiles."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self._classes: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Take one more."""
        self.count += 1
        self.sum_s += seconds
        self._classes[round(math.log(max(seconds, _LEAST_S)) / _STEP)] += 1

    def percentile(self, share: float) -> float | None:
        """The time that this share of them does not exceed, within 1%; None where there is none."""
        left = math.ceil(share * self.count)
        for place, many in sorted(self._classes.items()):
            left -= many
            if left <= 0:
                return math.exp(place * _STEP)
        return None

    @property
    def median_s(self) -> float | None:
        """The median."""
        return self.percentile(0.5)


@dataclass(slots=True)
class Tier:
    """What one tier did."""

    documents: int = 0
    failed: int = 0
    reused: int = 0
    cost_usd: Decimal = Decimal(0)
    fresh: int = 0
    """Documents that were answered and not reused: what they cost and took tells what reuse saved."""
    fresh_usd: Decimal = Decimal(0)
    times: Times = field(default_factory=Times)


@dataclass(slots=True)
class Model:
    """Documents that a model answered."""

    documents: int = 0
    simulated: int = 0


@dataclass(slots=True)
class Field:
    """One field in all answers that are JSON."""

    filled: int = 0
    found: int = 0
    """In the source, of those that are filled."""
    missed: int = 0
    """Filled, and looked for in the source without success."""
    review: Counter[str] = field(default_factory=Counter)
    """Documents by why a person should look at it."""
    to_review: int = 0
    """Documents."""


@dataclass(frozen=True, slots=True, order=True)
class Dear:
    """One of the most expensive documents."""

    cost_usd: Decimal
    order: int
    """Counted down, so that of two that cost the same the first one stays."""
    name: str
    pages: int | None
    chars: int | None
    tier: str
    has_failed: bool


class Sample:
    """A fair sample of points that come one by one: each has the same chance to stay."""

    def __init__(self, most: int, seed: int) -> None:
        self.seen = 0
        self.points: list[tuple[int, float]] = []
        self._most = most
        self._random = random.Random(seed)  # noqa: S311 - a sample, and the same one for the same lines

    def add(self, chars: int, cost_usd: float) -> None:
        """Take one more."""
        self.seen += 1
        if len(self.points) < self._most:
            self.points.append((chars, cost_usd))
        elif (place := self._random.randrange(self.seen)) < self._most:
            self.points[place] = (chars, cost_usd)


class Summary:
    """The figures, added up line by line. With the task's schema its fields are counted, else those that the answers have."""

    def __init__(self, schema: Schema | None = None) -> None:
        self.documents = 0
        self.reused = 0
        self.cut = 0
        """Answers that end because they came to their most tokens."""
        self.simulated = 0
        self.with_data = 0
        """Answers that are JSON."""
        self.to_review = 0
        """Documents with a field that a person should look at."""
        self.pages = 0
        self.chars = 0
        self.with_pages = 0
        self.with_chars = 0
        self.sources: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.tasks: Counter[str] = Counter()
        self.cost_usd = Decimal(0)
        self.without_cost = 0
        """Lines that tell no cost."""
        self.tiers: dict[str, Tier] = {}
        self.models: dict[str, Model] = {}
        self.fields: dict[str, Field] = {}
        self.times = Times()
        self.failures = Failures()
        self.samples: dict[str, Sample] = {}
        self.free = 0
        """Documents of known length that cost nothing: a plot with a logarithmic axis cannot show them."""
        self._columns: tuple[Column, ...] | None = None if schema is None else columns_of(schema)
        self._dearest: list[Dear] = []
        for column in self._columns or ():
            self._field(column.name)

    @property
    def failed(self) -> int:
        """Documents without an answer."""
        return self.failures.failed

    @property
    def done(self) -> int:
        """Documents with an answer."""
        return self.documents - self.failed

    @property
    def dearest(self) -> list[Dear]:
        """The most expensive documents, the most expensive one first."""
        return sorted(self._dearest, reverse=True)

    @property
    def saved_usd(self) -> Decimal | None:
        """What the reused answers would have cost, at the mean of the others of their tier, or of all others where it has none; None where there is no mean."""
        means = {name: tier.fresh_usd / tier.fresh for name, tier in self.tiers.items() if tier.fresh}
        fresh = sum(tier.fresh for tier in self.tiers.values())
        if not fresh or not self.reused:
            return None
        mean = sum((tier.fresh_usd for tier in self.tiers.values()), Decimal(0)) / fresh
        return sum((tier.reused * means.get(name, mean) for name, tier in self.tiers.items()), Decimal(0))

    @property
    def saved_s(self) -> float | None:
        """The time that they would have taken, likewise."""
        if not self.times.count or not self.reused:
            return None
        mean = self.times.sum_s / self.times.count
        return sum(
            tier.reused * (tier.times.sum_s / tier.times.count if tier.times.count else mean)
            for tier in self.tiers.values()
        )

    def add(self, line: Line) -> None:
        """Take the next line."""
        result = result_of(line)
        self.documents += 1
        self.failures.add(result)
        self.reused += result.reused
        self.cut += result.was_cut and result.failure is None
        self.simulated += result.simulated
        if result.task:
            self.tasks[_within(self.tasks, one_line(result.task, MOST_NAME), MOST_KINDS)] += 1
        self._add_document(result)
        self._add_cost(result)
        if result.failure is None:
            self._add_answer(result)

    def _add_document(self, result: Result) -> None:
        document = result.document
        if document.kind:
            self.kinds[_within(self.kinds, one_line(document.kind, 20), MOST_KINDS)] += 1
        if document.pages is not None:
            self.pages += document.pages
            self.with_pages += 1
        if document.chars is not None:
            self.chars += document.chars
            self.with_chars += 1
        self.sources.update(document.sources)

    def _add_cost(self, result: Result) -> None:
        name = _within(self.tiers, one_line(result.tier, 30) or UNTIERED, MOST_TIERS)
        tier = self.tiers.setdefault(name, Tier())
        cost = result.cost_usd
        self.without_cost += cost is None
        cost = cost or Decimal(0)
        self.cost_usd += cost
        tier.documents += 1
        tier.cost_usd += cost
        tier.failed += result.failure is not None
        tier.reused += result.reused
        if result.failure is None and not result.reused:
            tier.fresh += 1
            tier.fresh_usd += cost
        if result.engine_s is not None and not result.reused:
            tier.times.add(result.engine_s)
            self.times.add(result.engine_s)
        self._place(result, name, cost)

    def _place(self, result: Result, tier: str, cost: Decimal) -> None:
        document = result.document
        if document.chars:
            if cost:
                sample = self.samples.setdefault(tier, Sample(POINTS, len(self.samples)))
                sample.add(document.chars, float(cost))
            else:
                self.free += 1
        if cost and (len(self._dearest) < DEAREST or cost > self._dearest[0].cost_usd):
            name = one_line(document.name, MOST_NAME)
            dear = Dear(cost, -self.documents, name, document.pages, document.chars, tier, result.failure is not None)
            (heapq.heappush if len(self._dearest) < DEAREST else heapq.heapreplace)(self._dearest, dear)

    def _add_answer(self, result: Result) -> None:
        model = self.models.setdefault(_within(self.models, one_line(result.model, 80) or OTHER, MOST_MODELS), Model())
        model.documents += 1
        model.simulated += result.simulated
        if result.data is not None:
            self.with_data += 1
            self.to_review += any(one.review for one in result.fields.values())
            for column in told_columns(result.data) if self._columns is None else self._columns:
                self._add_field(column, result)

    def _add_field(self, column: Column, result: Result) -> None:
        one = self._field(column.name)
        if one is None:
            return
        evidence = column.evidence(result)
        if is_filled(column.value(result)):
            one.filled += 1
            seen = {part.found for part in evidence} - {None}
            one.missed += False in seen
            one.found += seen == {True}
        if why := reviews(evidence):
            one.to_review += 1
            for reason in why:
                one.review[_within(one.review, one_line(reason, 40), 10)] += 1

    def _field(self, name: str) -> Field | None:
        shown = one_line(name, 80)
        if shown not in self.fields and len(self.fields) >= MOST_FIELDS:
            return None
        return self.fields.setdefault(shown, Field())


def summed(lines: Iterable[Line], schema: Schema | None = None) -> Summary:
    """The figures of result lines."""
    summary = Summary(schema)
    for line in lines:
        summary.add(line)
    return summary


def _within(known: Mapping[str, object], name: str, most: int) -> str:
    """A name under which to count: of those that come when there are many already, `other`."""
    return name if name in known or len(known) < most else OTHER
