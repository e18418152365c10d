"""What was spent, against what it would have cost on the reference and on the best single model, with the quality beside it. Pure.

Spend is what callers paid: answers that were delivered, and those that were not accepted. Audits and training are taken off what was
saved, although we bear them: they are what the saving takes. What the reference would have cost on rows that others answered is told by
the audits, which are a random sample of these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.advice.economics import AdvicePolicy, audit_share
from orchestrator.rightsizing.advice.points import Plane, Point, delivered_quality, planes, reference_quality
from orchestrator.rightsizing.advice.prices import answer_price, audit_price
from orchestrator.rightsizing.evidence.facts import Amount, Fact, Interval, Quality, Source, TaskFacts, plain
from orchestrator.rightsizing.evidence.quality import difference

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class TaskSavings(Fact):
    """One task's spend and what it would have been."""

    task: str
    version: str
    jobs: int
    answers_usd: Decimal
    """Paid for answers that were delivered."""
    escalation_usd: Decimal
    """Paid for answers that were not accepted."""
    audit_usd: Decimal
    training_usd: Decimal
    on_reference: Amount | None
    """All of it on the reference; None where nobody knows what that costs."""
    reference: str
    rests_on_audits: bool
    """Whether audits tell what the reference would have cost; otherwise its own answers do, or its rate card."""
    on_single: Amount | None
    """All of it on the best single model."""
    single: str | None
    single_quality: Quality | None
    saved: Amount | None
    """Net: what the reference would have cost, less all that was spent, audits and training in it."""
    share: Interval | None
    """The same as a share of what the reference would have cost."""
    quality: Quality | None
    """Of what was delivered."""
    reference_quality: Quality | None
    """By the same source."""
    quality_change: Interval | None
    """By how much what was delivered is above the reference, at the worst and at the best; None where the reference gave all of it."""
    break_even_jobs: int | None
    """From so many jobs on the saving has paid the training; None where a job saves nothing."""
    simulated: tuple[str, ...]

    @property
    def spent_usd(self) -> Decimal:
        """What callers paid."""
        return self.answers_usd + self.escalation_usd

    @property
    def whole_usd(self) -> Decimal:
        """What the task took: what callers paid, audits and training."""
        return self.spent_usd + self.audit_usd + self.training_usd

    def as_dict(self) -> dict[str, Any]:
        """Its fields, with the sums of them."""
        return {**Fact.as_dict(self), "spent_usd": plain(self.spent_usd), "whole_usd": plain(self.whole_usd)}


@dataclass(frozen=True, slots=True)
class Savings(Fact):
    """The spend of all tasks, by task and together."""

    since: date
    until: date
    tasks: tuple[TaskSavings, ...]
    jobs: int
    spent_usd: Decimal
    escalation_usd: Decimal
    audit_usd: Decimal
    training_usd: Decimal
    on_reference: Amount
    """Of the tasks whose reference's price is known."""
    on_single: Amount
    """On each task's best single model, or its reference where no other is known to be good enough."""
    saved: Amount
    share: Interval | None
    unknown: tuple[str, ...]
    """Tasks of which nobody knows what the reference costs: they are not in the sums of what it would have cost, nor in what was saved."""
    simulated: tuple[str, ...]


def savings(tasks: Sequence[TaskFacts], policy: AdvicePolicy | None = None) -> Savings:
    """What all tasks of one period saved. Raises InvalidRequest where their periods differ, or there are none."""
    periods = {(facts.since, facts.until) for facts in tasks}
    if len(periods) != 1:
        raise InvalidRequest(
            "Savings are told of one period: give at least one task, and all of them with the same first and last day."
        )
    since, until = periods.pop()
    told = tuple(task_savings(facts, policy or AdvicePolicy()) for facts in tasks)
    known = [one for one in told if one.on_reference is not None]
    reference, saved = (
        _sum(amounts) for amounts in ((one.on_reference for one in known), (one.saved for one in known))
    )
    single = _sum(one.on_single or one.on_reference for one in known)
    return Savings(
        since, until, told, sum(one.jobs for one in told), _total(one.spent_usd for one in told), _total(one.escalation_usd for one in told),
        _total(one.audit_usd for one in told), _total(one.training_usd for one in told), reference, single, saved, _share(saved, reference),
        tuple(one.task for one in told if one.on_reference is None), tuple(sorted({name for one in told for name in one.simulated})),
    )  # fmt: skip


def task_savings(facts: TaskFacts, policy: AdvicePolicy) -> TaskSavings:
    """What one task saved."""
    known = planes(facts, audit_share(facts, policy), policy.target, policy.loss)
    first = known[0] if known else None
    single = None if first is None else first.best_single
    escalation = _total(model.rejected_usd for model in facts.models)
    answers = _total(model.charge_usd for model in facts.models) - escalation
    reference, rests_on_audits = on_reference(facts)
    taken = Amount.exactly(answers + escalation + facts.audits.all_usd + facts.training_usd)
    saved = None if reference is None else reference.minus(taken)
    quality, theirs = _qualities(facts, first)
    return TaskSavings(
        facts.task, facts.version, facts.jobs, answers, escalation, facts.audits.all_usd, facts.training_usd, reference, facts.reference,
        rests_on_audits, _on_single(facts, single, reference), None if single is None else single.name,
        None if single is None else single.quality, saved, None if saved is None or reference is None else _share(saved, reference), quality, theirs,
        _change(facts, quality, theirs), _break_even(facts, saved),
        tuple(model.model for model in facts.models if model.simulated),
    )  # fmt: skip


def on_reference(facts: TaskFacts) -> tuple[Amount | None, bool]:
    """What all jobs would have cost on the reference, and whether audits tell it.

    What the reference did answer is counted as it was paid; what others answered, at the mean of the audits of such rows.
    """
    found = facts.reference_facts
    paid = Amount.exactly(NOTHING if found is None else found.charge_usd - found.rejected_usd)
    others = facts.jobs - (0 if found is None else found.jobs)
    if others <= 0:
        return paid, False
    audited = audit_price(facts.audits)
    price = audited or (None if found is None else answer_price(found))
    return (None, False) if price is None else (paid.plus(price.times(others)), audited is not None)


def _on_single(facts: TaskFacts, single: Point | None, reference: Amount | None) -> Amount | None:
    if single is None:
        return None
    return reference if single.is_reference else single.usd.times(facts.jobs)


def _qualities(facts: TaskFacts, plane: Plane | None) -> tuple[Quality | None, Quality | None]:
    """The quality of what was delivered and that of the reference: by labels where these tell of it, else by what the advice goes by."""
    sources: list[Source] = [
        "labels",
        *([] if plane is None else [plane.source]),
        *(one.source for one in facts.delivered),
    ]
    for source in sources:
        quality = delivered_quality(facts, source)
        if quality is not None:
            return quality, reference_quality(facts, source)
    return None, None


def _change(facts: TaskFacts, quality: Quality | None, theirs: Quality | None) -> Interval | None:
    """What was delivered against the reference; None where nobody else answered, and both are the same answers."""
    found = facts.reference_facts
    if quality is None or theirs is None or (found is not None and found.jobs >= facts.jobs):
        return None
    return difference(quality, theirs)


def _break_even(facts: TaskFacts, saved: Amount | None) -> int | None:
    """Training over what a job saves, audits taken off: the volume from which it has paid itself."""
    if saved is None or not facts.jobs:
        return None
    each = (saved.usd + facts.training_usd) / facts.jobs
    if each <= 0:
        return None
    return int((facts.training_usd / each).to_integral_value(rounding=ROUND_CEILING))


def _share(saved: Amount, reference: Amount) -> Interval | None:
    """Saved as a share of what the reference would have cost: spent stays the same at both ends, so both move together."""
    spent = reference.usd - saved.usd
    if reference.low_usd <= 0:
        return None
    return Interval(float(1 - spent / reference.low_usd), float(1 - spent / reference.high_usd))


def _sum(amounts: Iterable[Amount | None]) -> Amount:
    total = Amount.exactly(NOTHING)
    for amount in amounts:
        total = total if amount is None else total.plus(amount)
    return total


def _total(sums: Iterable[Decimal]) -> Decimal:
    return sum(sums, NOTHING)
