"""What is known of a task: volume, charges, quality and its stage, as the store counts them. Pure data.

Everything here is measured, or says that it is not. `as_dict` gives what JSON can hold: sums as decimal texts, days as 2026-11-28.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from orchestrator.errors import InvalidRequest

Source = Literal["labels", "agreement", "checks", "judge", "feedback"]
"""Where a figure of quality comes from. They measure different things, and are never mixed in one figure."""
SOURCES: Final[tuple[Source, ...]] = ("labels", "agreement", "judge", "feedback", "checks")
"""The same, the one that says most about right answers first."""
MONTH_DAYS: Final = 30.4375
DIGITS: Final = 12
"""After the point, of a sum: as many as the ledger has."""
Stage = Literal["none", "shadow", "canary", "full", "demoted"]


class Fact:
    """A frozen record that JSON can hold."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name, nested, in what JSON can hold."""
        return {one.name: plain(getattr(self, one.name)) for one in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """A value as JSON can hold it: a sum as decimal text, a day as 2026-11-28."""
    if isinstance(value, Fact):
        return value.as_dict()
    if isinstance(value, Decimal):
        return f"{round(value, DIGITS).normalize() + 0:f}"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return value


@dataclass(frozen=True, slots=True)
class Interval(Fact):
    """Two ends of what a figure may be."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise InvalidRequest(
                f"An interval from {self.low} to {self.high} has its ends the wrong way round: swap them."
            )


@dataclass(frozen=True, slots=True)
class Amount(Fact):
    """A sum in US dollars with the interval in which it may lie."""

    usd: Decimal
    low_usd: Decimal
    high_usd: Decimal

    @classmethod
    def exactly(cls, usd: Decimal) -> Amount:
        """A sum that is known."""
        return cls(usd, usd, usd)

    def times(self, number: Decimal | int) -> Amount:
        """So many times this."""
        ends = sorted((self.low_usd * number, self.high_usd * number))
        return Amount(self.usd * number, ends[0], ends[1])

    def plus(self, other: Amount) -> Amount:
        """Both together; the ends are added, which is right however the two hang together."""
        return Amount(self.usd + other.usd, self.low_usd + other.low_usd, self.high_usd + other.high_usd)

    def minus(self, other: Amount) -> Amount:
        """This without the other."""
        return self.plus(other.times(-1))


@dataclass(frozen=True, slots=True)
class Quality(Fact):
    """How good answers are by one source: the estimate with its interval, from `n` answers that were looked at."""

    source: Source
    value: float
    low: float
    high: float
    n: int
    note: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise InvalidRequest(f"Quality has no source {self.source!r}: give one of {', '.join(SOURCES)}.")
        if not 0 <= self.low <= self.value <= self.high <= 1 or self.n < 0:
            raise InvalidRequest(
                f"Quality {self.value} from {self.low} to {self.high} of {self.n} is none: give shares from 0 to 1 in that order."
            )


@dataclass(frozen=True, slots=True)
class ModelFacts(Fact):
    """What one model did for a task in the period."""

    tier: str
    model: str
    revision: str
    simulated: bool
    jobs: int
    """Jobs that its answer was delivered for."""
    charge_usd: Decimal
    """What callers paid for its answers: those that were delivered, and those that were not accepted."""
    cost_usd: Decimal
    latency_s: float | None = None
    """The median of an answer."""
    input_tokens: int = 0
    output_tokens: int = 0
    rejected: int = 0
    """Answers of it that were not accepted: their jobs were escalated."""
    rejected_usd: Decimal = Decimal(0)
    """The part of `charge_usd` that these have."""
    charge_squares: Decimal | None = None
    """The sum of the squares of each answer's charge; None where it was not added up: then the price has no interval."""
    expected_usd: Decimal | None = None
    """What its rate card says that an answer costs: used where it gave none."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Attempts that failed, by code."""
    quality: tuple[Quality, ...] = ()
    """Of its answers to a fair sample of the task's rows, whether they were accepted or not."""
    delivered: tuple[Quality, ...] = ()
    """Of those of its answers that were delivered, where these are a choice: what a specialist accepts by itself is better than the rest."""
    is_specialist: bool = False

    @property
    def answers(self) -> int:
        """Answers that were charged."""
        return self.jobs + self.rejected

    @property
    def answer_usd(self) -> Decimal | None:
        """What an answer costs: the mean of those charged, else what the rate card says; None where nobody knows."""
        return self.charge_usd / self.answers if self.answers else self.expected_usd

    def by(self, source: Source) -> Quality | None:
        """Its quality by a source, over the whole task."""
        return next((one for one in self.quality if one.source == source), None)

    def delivered_by(self, source: Source) -> Quality | None:
        """The same of what was delivered of it."""
        return next((one for one in self.delivered if one.source == source), None) or self.by(source)


@dataclass(frozen=True, slots=True)
class CertificateFacts(Fact):
    """What a certificate says, or the last attempt at one that was not issued."""

    issued: bool
    source: Source
    """What is certified: accuracy (`labels`) or `agreement` with the reference."""
    model: str
    target: float
    delta: float
    n: int
    """Rows it rests on."""
    threshold: float | None = None
    share: float = 0.0
    """Of the traffic that the model may answer alone."""
    share_interval: Interval = Interval(0.0, 1.0)
    bound: float = 0.0
    """The quality on that share is at least this, with the chance that delta leaves."""
    accepted: int = 0
    """Of its rows, those at or above the threshold."""
    errors: int = 0
    """Of these, those that were not right."""
    day: date | None = None
    expires: date | None = None
    is_void: bool = False
    """Another revision of the reference came, the task was edited, or the model was trained anew."""
    more_labels: int | None = None
    """Where it was not issued: how many more rows would be expected to do; None where that is not known."""
    is_hopeless: bool = False
    """Where it was not issued: that no number of rows would do."""
    reason: str = ""

    def holds_on(self, day: date) -> bool:
        """Whether the model may answer alone under it on a day."""
        return self.issued and not self.is_void and (self.expires is None or day <= self.expires)


@dataclass(frozen=True, slots=True)
class StageFacts(Fact):
    """How far a task's specialist has been let: answering beside the reference, on a small share, or in full."""

    stage: Stage = "none"
    since: date | None = None
    certificate: CertificateFacts | None = None
    frozen: bool = False
    """A person stopped it here."""
    demoted_on: date | None = None
    """Its last demotion; that of stage `demoted` is its first day."""


@dataclass(frozen=True, slots=True)
class Audits(Fact):
    """Second answers in the period, at our expense: the reference's of what the specialist answered, and in the shadow the other way round."""

    count: int = 0
    """Those of the reference alone."""
    cost_usd: Decimal = Decimal(0)
    """Of those of the reference alone: they tell what it costs."""
    charge_squares: Decimal | None = None
    """The sum of the squares of what each of them cost."""
    waiting: int = 0
    in_stage: int = 0
    """Answers that were held against each other in the present stage: they speak for its next step."""
    shadow: int = 0
    """Answers of the specialist beside the reference's."""
    shadow_usd: Decimal = Decimal(0)

    @property
    def all_usd(self) -> Decimal:
        """What all of them cost."""
        return self.cost_usd + self.shadow_usd


@dataclass(frozen=True, slots=True)
class TaskFacts(Fact):
    """What is known of one task in a period."""

    task: str
    version: str
    since: date
    until: date
    """The last day."""
    jobs: int
    """Delivered."""
    jobs_a_month: float
    reference: str
    """The model that the others are held against."""
    models: tuple[ModelFacts, ...]
    stage: StageFacts = StageFacts()
    escalated: int = 0
    audits: Audits = Audits()
    training_s: float = 0.0
    training_usd: Decimal = Decimal(0)
    labels: int = 0
    """Rows with a label that was given."""
    fresh_rows: int = 0
    """Rows that the reference and the specialist both answered, and neither fitting nor an earlier attempt used: for a certificate of agreement."""
    held_labels: int = 0
    """Rows that people labelled, and neither fitting nor an earlier attempt used: kept aside at training, or drawn since."""
    quality_target: float | None = None
    """Of the task's definition."""
    delivered: tuple[Quality, ...] = ()
    """The quality of what callers got, over the whole task, whichever model gave it."""

    def model(self, name: str) -> ModelFacts | None:
        """What a model did."""
        return next((one for one in self.models if one.model == name), None)

    @property
    def reference_facts(self) -> ModelFacts | None:
        """What the reference did."""
        return self.model(self.reference)

    @property
    def specialist(self) -> ModelFacts | None:
        """What the task's specialist did, where it has one."""
        return next((one for one in self.models if one.is_specialist), None)
