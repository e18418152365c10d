"""Advice for a task: what each way to do it costs and how good it is, what would be saved, what is not known yet, and the next step. Pure.

Savings are told against the task as it was done in the period, at today's volume. Their interval joins those of the certificate's share and of the
prices; that of the quality stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from orchestrator.rightsizing.advice.case import LIVE, SAMPLE, Case, Step
from orchestrator.rightsizing.advice.economics import AdvicePolicy, Economics, audit_share, economics, verdicts_needed
from orchestrator.rightsizing.advice.points import Plane, Point, planes, reference_price
from orchestrator.rightsizing.advice.steps import next_step
from orchestrator.rightsizing.advice.words import SIGNS, counted, money, percent, wait_of
from orchestrator.rightsizing.evidence.facts import Amount, Fact, Quality, Stage, TaskFacts

__all__ = ["Advice", "AdvicePolicy", "Option", "advise"]


@dataclass(frozen=True, slots=True)
class Option(Fact):
    """A way to do the task, against how it was done in the period."""

    name: str
    usd: Amount
    """A job."""
    quality: Quality
    is_sure: bool
    """Whether the whole interval of its quality reaches what is needed."""
    saved_a_month: Amount
    """Against the task as it was done in the period; below 0 it would cost more."""
    saved_from_reference: Amount
    """Against all of it on the reference."""
    is_now: bool = False
    """Whether the task is done like this already: what it saves against the whole period tells of the days before."""


@dataclass(frozen=True, slots=True)
class Advice(Fact):
    """What is advised for one task."""

    task: str
    version: str
    since: date
    until: date
    jobs: int
    jobs_a_month: float
    reference: str
    stage: Stage
    now_usd: Decimal | None
    """A job as it was done in the period, audits included."""
    planes: tuple[Plane, ...]
    """One for each source of quality, the one that says most first."""
    best_single: Option | None
    best_cascade: Option | None
    sums: Economics | None
    missing: tuple[str, ...]
    """What is not known well enough, each with what would tell it."""
    reasons: tuple[str, ...]
    """What was looked at, a sentence each."""
    step: Step
    simulated: tuple[str, ...]
    """Models whose answers, times and prices are made up."""


def advise(facts: TaskFacts, policy: AdvicePolicy | None = None) -> Advice:
    """What is advised for a task."""
    policy = policy or AdvicePolicy()
    known = planes(facts, audit_share(facts, policy), policy.target, policy.loss)
    first = known[0] if known else None
    now = _now_usd(facts)
    single = _option(facts, _single(first), first, now)
    cascade_plane = next((plane for plane in known if plane.find("cascade") is not None), None)
    cascade_point = None if cascade_plane is None else cascade_plane.find("cascade")
    cascade = _option(facts, cascade_point, cascade_plane, now, is_now=facts.stage.stage == "full")
    sums = economics(facts, policy, _labels_to_give(facts, policy, first))
    pays = cascade is not None and cascade.saved_from_reference.high_usd > 0
    case = Case(facts, policy, first, cascade_point, pays, sums)
    return Advice(
        facts.task, facts.version, facts.since, facts.until, facts.jobs, facts.jobs_a_month, facts.reference, facts.stage.stage, now, known, single, cascade,
        sums, tuple(_missing(case, known)), tuple(_reasons(case, single, cascade)), next_step(case),
        tuple(model.model for model in facts.models if model.simulated),
    )  # fmt: skip


def _now_usd(facts: TaskFacts) -> Decimal | None:
    if not facts.jobs:
        return None
    spent = sum((model.charge_usd for model in facts.models), Decimal(0)) + facts.audits.all_usd
    return spent / facts.jobs


def _single(plane: Plane | None) -> Point | None:
    return None if plane is None else plane.best_single or plane.likely_single


def _option(
    facts: TaskFacts, point: Point | None, plane: Plane | None, now: Decimal | None, *, is_now: bool = False
) -> Option | None:
    reference = reference_price(facts)
    if point is None or plane is None or now is None or reference is None:
        return None
    volume = Decimal(repr(facts.jobs_a_month))
    saved = Amount.exactly(now).minus(point.usd).times(volume)
    against = Amount.exactly(Decimal(0)) if point.is_reference else reference.minus(point.usd).times(volume)
    is_sure = plane.needed is not None and point.quality.low >= plane.needed
    return Option(point.name, point.usd, point.quality, is_sure, saved, against, is_now)


def _labels_to_give(facts: TaskFacts, policy: AdvicePolicy, plane: Plane | None) -> int:
    """Labels that a person would still have to give; none where the reference's own answers are learned from."""
    if plane is None or plane.source != "labels":
        return 0
    case = Case(facts, policy, plane, None, False, None)
    if facts.specialist is None:
        return max(0, case.rows_to_train - facts.labels)
    return max(0, case.rows_needed - facts.held_labels)


def _missing(case: Case, known: Sequence[Plane]) -> Iterator[str]:
    plane, facts = case.plane, case.facts
    if plane is None:
        yield f"No quality was measured by any source. Label some of it (`{case.label(SAMPLE)}`), or let audits run."
        return
    if all(one.source != "labels" for one in known):
        yield f"How often answers are right is not known, only how often they {SIGNS[plane.source]}: `{case.label(SAMPLE)}` and a person's labels tell it."
    if plane.needed is None:
        yield f"What quality is needed is not known: give --target, or label some of the reference's answers too (`{case.label(SAMPLE)}`)."
        return
    watched = case.watched
    if (
        facts.stage.stage in LIVE
        and watched is not None
        and watched.quality.low < watched.promised <= watched.quality.high
    ):
        more = verdicts_needed(watched.quality.value, watched.promised)
        if more is not None and more > watched.quality.n:
            yield f"About {counted(more - watched.quality.n, 'more audit')} would tell whether {watched.what} reaches {percent(watched.promised)}."
    for point in plane.points:
        if point.kind == "model" and not point.is_reference and point.quality.low < plane.needed <= point.quality.high:
            yield _not_told(point, plane.needed)
    unmeasured = [
        model.model
        for model in facts.models
        if model.answers and model.by(plane.source) is None and model.model != facts.reference
    ]
    if unmeasured:
        yield f"Not on this plane, since no answer of them was looked at by {plane.source}: {', '.join(unmeasured)}."


def _not_told(point: Point, needed: float) -> str:
    more = verdicts_needed(point.quality.value, needed)
    if more is None:
        return f"{point.name} comes out below {percent(needed)}, though its interval reaches above: more verdicts would likely rule it out."
    left = counted(max(1, more - point.quality.n), "more verdict")
    return f"About {left} by {point.quality.source} would tell whether {point.name} reaches {percent(needed)}."


def _reasons(case: Case, single: Option | None, cascade: Option | None) -> Iterator[str]:
    plane, sums = case.plane, case.sums
    if plane is not None:
        if plane.needed is not None:
            yield f"Needed is {percent(plane.needed)}, by {plane.source}: {plane.why_needed}."
        yield from _risks(plane)
    if single is not None:
        sure = (
            "the whole interval of its quality reaches"
            if single.is_sure
            else "its estimate reaches, though not its whole interval,"
        )
        yield f"The best single model is {single.name}, at {money(single.usd.usd)} a job: {sure} what is needed."
    if cascade is not None:
        yield (
            f"The best cascade is {cascade.name}, at {money(cascade.usd.usd)} a job, audits and escalation included"
            f"{'' if cascade.is_sure else '; its quality may lie below what is needed'}."
        )
    if sums is not None and cascade is None and sums.break_even_share is not None:
        yield (
            f"A specialist at {money(sums.specialist_usd)} an answer pays from {percent(sums.break_even_share)} answered alone, with "
            f"{percent(sums.audit_share)} of that audited."
        )
    if sums is not None and cascade is not None and sums.paid_usd > 0:
        yield _payback(sums.paid_usd, cascade.saved_from_reference)


def _risks(plane: Plane) -> Iterator[str]:
    """Cheap models that look good enough and may not be, or surely are not."""
    if plane.needed is None:
        return
    reference = next((one.usd.usd for one in plane.points if one.is_reference), None)
    for point in plane.points:
        is_dearer = reference is not None and point.usd.usd >= reference
        if point.kind != "model" or is_dearer or point.quality.low >= plane.needed:
            continue
        if point.quality.high < plane.needed:
            yield f"{point.name} must not answer everything alone: at most {percent(point.quality.high)} {SIGNS[plane.source]}."
        else:
            yield (
                f"Quality would be at risk with {point.name} alone: its interval reaches down to {percent(point.quality.low)}, below the "
                f"{percent(plane.needed)} that is needed."
            )


def _payback(paid: Decimal, saved: Amount) -> str:
    """How long the training takes to come back."""
    if saved.usd <= 0:
        return f"Its training, {money(paid)}, is not paid back: the cascade saves nothing."
    return (
        f"Its training, {money(paid)}, is paid back within {wait_of(float(paid), float(saved.usd))} at today's volume."
    )
