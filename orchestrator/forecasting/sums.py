"""Sums over the rows of a batch, each part of them by the closest history that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from orchestrator.contracts import Tier
from orchestrator.eligibility import TYPICAL_OUTPUT_TOKENS
from orchestrator.forecasting.history import Basis, Found, Histories, Weights
from orchestrator.forecasting.prediction import Asked, Bounds, Fit, Part, added, alike, cut, fitted, total
from orchestrator.forecasting.rows import Group

INPUT_RATIO: Final = Bounds(1.0, 0.75, 1.5)
"""Without history: tokens read for each that was expected, which was guessed by characters."""
SECONDS_RATIO: Final = Bounds(1.0, 0.5, 2.0)
"""Without history: a request's time, against what its model was seen or is said to take."""
NEARLY: Final = 0.9
"""Without history: an answer has at most so much of its limit. At least it has the tenth root of it, as if lengths were spread
evenly over their logarithms."""

ALL: Final[Weights] = (1.0,) * 6
TEXT: Final[Weights] = (1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
"""What a task has in common on all models: what is read, and what is said."""
THOUGHT: Final[Weights] = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TIME: Final[Weights] = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class Source(NamedTuple):
    """The history that answers for some of the measures; None where the limits of the requests must do."""

    found: Found | None
    measures: Weights
    """1 for each that it answers for, else 0."""


@dataclass(slots=True)
class Sums:
    """Adds up what rows will come to. Keeps what it found out, since a batch may have many kinds of them."""

    histories: Histories
    latencies_s: Mapping[str, float]
    """By model: of one request."""
    _sources: dict[int, list[Source]] = field(default_factory=dict)
    _of_model: dict[str, Found | None] = field(default_factory=dict)
    _fits: dict[tuple[int, Weights], Fit] = field(default_factory=dict)

    def sources(self, group: Group) -> list[Source]:
        """What the forecast of some rows stands on, the first of which is the most telling."""
        known = self._sources.get(id(group))
        if known is None:
            known = self._sources[id(group)] = self._find(group)
        return known

    def of(self, groups: Sequence[Group], weights_of: Callable[[Group], Weights]) -> Bounds:
        """What the weighted sum of the measures comes to over some rows."""
        parts: dict[tuple[Basis, str, str | None], list[Part]] = {}
        guesses: dict[str, list[Bounds]] = {}
        for group in groups:
            asked = Asked(group.jobs, group.per_job(group.input_tokens))
            for source in self.sources(group):
                weights = tuple(a * b for a, b in zip(weights_of(group), source.measures, strict=True))
                if not any(weights):
                    continue
                if source.found is None:
                    guesses.setdefault(group.model, []).append(self._guess(group, weights))
                    continue
                basis = source.found.basis
                key = (basis, group.model, group.task if basis is Basis.TASK_ON_MODEL else None)
                parts.setdefault(key, []).append(self._fit(group, source.found, weights).part(asked))
        told = [total(some, together=basis is not Basis.MODEL) for (basis, _, _), some in parts.items()]
        return added([*told, *map(alike, guesses.values())])

    def _find(self, group: Group) -> list[Source]:
        if group.model not in self._of_model:
            self._of_model[group.model] = self.histories.of_model(group.model)
        of_model = self._of_model[group.model]
        if group.mixed:
            return [Source(of_model, ALL)]
        if found := self.histories.of_task_on_model(group.task, group.model):
            return [Source(found, ALL)]
        if found := self.histories.of_task_elsewhere(group.task, group.model):
            thinks = group.tier is Tier.RLM or group.thought_limit > 0
            own = tuple(a + thinks * b for a, b in zip(TIME, THOUGHT, strict=True))
            return [Source(found, TEXT), Source(of_model, own)]
        return [Source(of_model, ALL)]

    def _fit(self, group: Group, found: Found, weights: Weights) -> Fit:
        """What a history says, once its answers are cut where these must end."""
        left = cut(found.history.whole, group.per_job(group.output_limit + group.thought_limit))
        succeeded, read, cached, spoken, thought, seconds = weights
        asked = (succeeded, read, cached, left * spoken, left * thought, seconds)
        key = (id(found), asked)
        if key not in self._fits:
            self._fits[key] = fitted(found, asked)
        return self._fits[key]

    def _guess(self, group: Group, weights: Weights) -> Bounds:
        """What rows come to of which nothing is known but what they ask for."""
        read = group.per_job(group.input_tokens)
        spoken = _by_limit(group.per_job(group.output_limit), TYPICAL_OUTPUT_TOKENS)
        # Thoughts of which the fleet does not say how many there may be share the limit of the answer.
        limit = group.thought_limit or (0 if weights[3] else group.output_limit)
        thought = _by_limit(group.per_job(limit), limit)
        latency_s = self.latencies_s[group.model]
        return Bounds(*(
            group.jobs * (weights[0] + weights[1] * ratio * read + weights[3] * said + weights[4] * meant + weights[5] * pace * latency_s)
            for ratio, said, meant, pace in zip(INPUT_RATIO, spoken, thought, SECONDS_RATIO, strict=True)
        ))  # fmt: skip


def _by_limit(limit: float, typical: int) -> Bounds:
    """How long a text is whose limit alone is known: as routing expects, but half of its limit at most."""
    if limit <= 1:
        return Bounds(limit, limit, limit)
    return Bounds(min(typical, limit / 2), min(limit**0.1, limit / 2), max(NEARLY * limit, limit / 2))
