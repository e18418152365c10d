"""What finished jobs tell about further ones: sums of what each took, by task and model, and where there is nothing closer, whose sums stand in.

Nothing but sums is kept. Means, variances, a line over the length of the input, and what a job would have cost at any rate card
all follow from them, so that one query of the database serves every forecast. Floating point throughout: a forecast is no ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple, Self

MEASURES: Final = ("succeeded", "input", "cached", "spoken", "thought", "engine_s")
"""What is measured of a finished job: 1 if it succeeded; tokens read, and those of them from a cache, for each reading of the prompt;
tokens of the answer and of thought, for each answer; seconds of the engine in all its attempts. Of a failed job, which nobody
pays for, all but the last are 0: so the sums know of failures too."""
PAIRS: Final = tuple((a, b) for a in range(len(MEASURES)) for b in range(a, len(MEASURES)))
LEAST_SEEN: Final = 5
"""So many jobs must have succeeded before they tell anything."""

Weights = tuple[float, ...]
"""One for each measure: what is asked of a job is their weighted sum, such as its cost at a rate card."""


class Basis(StrEnum):
    """What a forecast stands on, the best first."""

    TASK_ON_MODEL = "task_on_model"
    """Finished jobs of this task on this model."""
    TASK_ELSEWHERE = "task_on_other_models"
    """Finished jobs of this task on other models; what this model thinks before it answers is known apart."""
    MODEL = "model_over_all_tasks"
    """Finished jobs of other tasks on this model."""
    NO_HISTORY = "no_history"
    """Nothing but the limits of the requests."""


class Bivariate(NamedTuple):
    """Sums over some jobs: how many, their x and one y, and the products of these."""

    n: float
    x: float
    xx: float
    y: float
    xy: float
    yy: float

    def less(self, slope: float) -> Bivariate:
        """The sums of y - slope * x instead of y."""
        yy = self.yy - 2 * slope * self.xy + slope * slope * self.xx
        return self._replace(y=self.y - slope * self.x, xy=self.xy - slope * self.xx, yy=max(0.0, yy))


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over finished jobs that belong together: of the expected input tokens x, of each measure, and of all products of two."""

    n: float
    x: float
    xx: float
    sums: tuple[float, ...]
    with_x: tuple[float, ...]
    pairs: tuple[float, ...]
    """In the order of `PAIRS`."""
    most_tokens: float = 0.0
    """The longest answer, thoughts included."""

    @classmethod
    def of(cls, jobs: Iterable[tuple[float, Sequence[float]]]) -> Self:
        """The sums over jobs, of which each has its expected input tokens and its measures."""
        n = x = xx = most = 0.0
        sums, with_x, pairs = [0.0] * len(MEASURES), [0.0] * len(MEASURES), [0.0] * len(PAIRS)
        for length, values in jobs:
            n, x, xx = n + 1, x + length, xx + length * length
            most = max(most, values[3] + values[4])
            for i, value in enumerate(values):
                sums[i] += value
                with_x[i] += length * value
            for i, (a, b) in enumerate(PAIRS):
                pairs[i] += values[a] * values[b]
        return cls(n, x, xx, tuple(sums), tuple(with_x), tuple(pairs), most)

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n, self.x + other.x, self.xx + other.xx, _added(self.sums, other.sums),
            _added(self.with_x, other.with_x), _added(self.pairs, other.pairs), max(self.most_tokens, other.most_tokens),
        )  # fmt: skip

    def along(self, weights: Weights) -> Bivariate:
        """The sums of the weighted sum of the measures."""
        yy = sum(
            (1 if a == b else 2) * weights[a] * weights[b] * pair
            for (a, b), pair in zip(PAIRS, self.pairs, strict=True)
            if weights[a] and weights[b]
        )
        return Bivariate(self.n, self.x, self.xx, _dot(weights, self.sums), _dot(weights, self.with_x), max(0.0, yy))

    def mean(self, measure: str) -> float:
        """The mean of a measure over all jobs."""
        return self.sums[MEASURES.index(measure)] / self.n


NOTHING: Final = Moments.of(())


@dataclass(frozen=True)
class History:
    """What is known of some kind of job, in groups that may differ by more than chance: batches, models or tasks."""

    groups: tuple[Moments, ...]

    @cached_property
    def whole(self) -> Moments:
        """All groups together."""
        return sum(self.groups, NOTHING)


class Found(NamedTuple):
    """The history that answers for a task on a model, and what kind it is."""

    basis: Basis
    history: History


class Histories:
    """All that is known to one tenant: by task and model, the sums of each batch. The task None is that of jobs without one."""

    def __init__(self, known: Mapping[tuple[str | None, str], History]) -> None:
        self._known = known
        self._by_model: dict[str, list[Moments]] = {}
        self._by_task: dict[str | None, list[tuple[str, Moments]]] = {}
        for (task, model), history in known.items():
            self._by_model.setdefault(model, []).append(history.whole)
            self._by_task.setdefault(task, []).append((model, history.whole))

    def of_task_on_model(self, task: str | None, model: str) -> Found | None:
        """Batches of this task on this model."""
        history = self._known.get((task, model))
        return None if history is None else _told(Basis.TASK_ON_MODEL, history.groups)

    def of_task_elsewhere(self, task: str | None, model: str) -> Found | None:
        """This task on other models."""
        others = [moments for name, moments in self._by_task.get(task, ()) if name != model]
        return _told(Basis.TASK_ELSEWHERE, others)

    def of_model(self, model: str) -> Found | None:
        """All tasks on this model."""
        return _told(Basis.MODEL, self._by_model.get(model, ()))


def _told(basis: Basis, groups: Sequence[Moments]) -> Found | None:
    """The history of some groups, if enough of their jobs succeeded to tell anything."""
    enough = sum(moments.sums[0] for moments in groups) >= LEAST_SEEN
    return Found(basis, History(tuple(groups))) if enough else None


def _added(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
