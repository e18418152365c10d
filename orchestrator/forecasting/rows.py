"""The rows of a batch that is to be forecast, as sums: a file of a million rows takes no more memory than one of ten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from orchestrator.contracts import Tier
from orchestrator.eligibility import Estimate, most_thought
from orchestrator.fleet import Model
from orchestrator.pricing import ZERO
from orchestrator.requests import Features

MOST_GROUPS: Final = 1_000
"""So many kinds of rows are told apart. What comes after them is counted by model: a caller may invent a task for every row."""

MOST_TOKENS: Final = 1_000_000
"""A limit beyond it says nothing."""


Kind = tuple[str, str | None, int, int]
"""Model, task, answers and readings of a row."""


@dataclass(slots=True)
class Group:
    """Rows of one task for one model that write equally many answers."""

    tier: Tier
    model: str
    task: str | None
    mixed: bool = False
    """Whether these are the rows of many tasks that were too many to be told apart."""
    jobs: int = 0
    input_tokens: int = 0
    """Expected, of one reading of each prompt."""
    output_limit: int = 0
    """Of one answer each."""
    thought_limit: int = 0
    choices: int = 0
    readings: int = 0
    """How often prompts are read, all rows together: once for each sample, and by the judge."""
    images: int = 0
    audio_seconds: Decimal = ZERO
    hold_usd: Decimal = ZERO
    """The most that they may be charged."""
    again: int = 0
    """So many of the jobs were counted for another model as well, whose answer was not accepted."""
    again_usd: Decimal = ZERO
    """The most that those may be charged: within the most that their rows may be, which is counted where they begin."""

    def per_job(self, total: int | Decimal) -> float:
        """What each row has of a total."""
        return float(total) / self.jobs


def readings(features: Features) -> int:
    """How often the prompt of a request is read: once for each sample, and once by the judge of them."""
    return (features.hints.samples or 1) + (features.hints.vote == "judge")


@dataclass(slots=True)
class Rows:
    """Counts routed rows, one at a time, in constant memory."""

    _groups: dict[Kind, Group] = field(default_factory=dict)

    def add(self, features: Features, model: Model, estimate: Estimate, *, again: bool = False) -> None:
        """Count one row that would run on a model, where it is estimated so; `again` says that another model has passed it on."""
        samples, read = features.hints.samples or 1, readings(features)
        kind = (model.name, features.hints.task, features.choices, read)
        group = self._groups.get(kind)
        if group is None:
            group = self._new(kind, model)
        limit = features.max_output_tokens
        group.jobs += 1
        group.input_tokens += features.input_tokens
        group.output_limit += min(model.max_output_tokens if limit is None else limit, MOST_TOKENS)
        group.thought_limit += most_thought(features, model)
        group.choices += features.choices
        group.readings += read
        if again:
            group.again += 1
            group.again_usd += estimate.hold_usd
        else:
            group.hold_usd += estimate.hold_usd
        if features.images:
            group.images += features.images * samples
        if features.audio_seconds:
            group.audio_seconds += features.audio_seconds * samples

    def _new(self, kind: Kind, model: Model) -> Group:
        if len(self._groups) < MOST_GROUPS:
            group = self._groups[kind] = Group(model.tier, model.name, kind[1])
            return group
        return self._groups.setdefault((model.name, None, 0, 0), Group(model.tier, model.name, None, mixed=True))

    def __iter__(self) -> Iterator[Group]:
        """The groups that there are."""
        return iter(self._groups.values())
