"""Whether a specialist of a task would pay: what it must answer alone to earn its audits, training and labels. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.promotion import REST_DAYS, STAGE_AUDITS
from orchestrator.rightsizing.advice.points import reference_price
from orchestrator.rightsizing.evidence.facts import Fact, TaskFacts
from orchestrator.rightsizing.evidence.quality import LEVEL
from orchestrator.rightsizing.guarantees.bounds import rows_expected


@dataclass(frozen=True, slots=True)
class AdvicePolicy(Fact):
    """What advice is held to. Every figure is a rule that may be set; none is measured."""

    target: float | None = None
    """The quality asked for; without, that of the task's definition, or the reference's less `loss`."""
    delta: float = 0.05
    """The chance that a certificate may be wrong."""
    loss: float = 0.02
    audit_share: float = 0.05
    """Of accepted answers that are audited in full, at least."""
    least_audits: int = 60
    """A month: so many tell within it that quality halved. A task with few rows audits a larger share for that."""
    payback_months: float = 3.0
    """Within so many months a specialist must have earned what it took."""
    likely_share: float = 0.9
    """More than this a specialist seldom answers alone; a plan that needs more is not begun."""
    expected_share: float = 0.75
    """What it may answer alone, where nothing is known yet: used to tell how many rows to collect, never to count savings."""
    fit_rows: int = 500
    """Rows that fitting needs."""
    shadow_share: float = 0.2
    """Of jobs that the specialist answers beside the reference, in the shadow."""
    stage_audits: int = STAGE_AUDITS
    """Audits of a stage before the next one."""
    rest_days: int = REST_DAYS
    """After a demotion, before the task is tried again."""
    renew_days: int = 7
    """Before a certificate ends, its renewal begins."""
    training_usd: Decimal = Decimal(0)
    """What a training is expected to cost, where none was done."""
    specialist_usd: Decimal = Decimal(0)
    """What an answer of a specialist would cost by the fleet's rate card, where there is none yet."""
    label_usd: Decimal = Decimal(0)
    """What a label costs, a person's time in it."""


@dataclass(frozen=True, slots=True)
class Economics(Fact):
    """The sums behind a decision for or against a specialist."""

    specialist_usd: Decimal
    """What an answer of it costs."""
    reference_usd: Decimal
    audit_share: float
    """Of accepted answers, that must be audited at this volume."""
    once_usd: Decimal
    """Training and labels that are still to be paid."""
    paid_usd: Decimal
    """What was paid for training already: no reason for or against going on."""
    break_even_share: float | None
    """What it must answer alone to have earned `once_usd` in time; None where no share would do."""
    most_saved_usd: Decimal
    """A month, if it answered everything alone."""


def economics(facts: TaskFacts, policy: AdvicePolicy, labels_to_give: int) -> Economics | None:
    """The sums for a task; None where nobody knows what the reference costs."""
    reference = reference_price(facts)
    if reference is None:
        return None
    specialist = facts.specialist
    each = policy.specialist_usd if specialist is None else specialist.answer_usd or Decimal(0)
    is_trained = specialist is not None
    once = (Decimal(0) if is_trained else policy.training_usd) + labels_to_give * policy.label_usd
    audited = audit_share(facts, policy)
    saved_if_accepted = reference.usd * Decimal(repr(1 - audited))
    volume = Decimal(repr(facts.jobs_a_month))
    most = volume * (saved_if_accepted - each)
    share = _break_even(each, once, saved_if_accepted, volume * Decimal(repr(policy.payback_months)))
    return Economics(each, reference.usd, audited, once, facts.training_usd, share, most)


def _break_even(each: Decimal, once: Decimal, saved: Decimal, jobs: Decimal) -> float | None:
    """The share of so many jobs that pays for asking a specialist each time, and for what it takes once."""
    if saved <= 0 or jobs <= 0:
        return None
    share = float((each + once / jobs) / saved)
    return share if share <= 1 else None


def audit_share(facts: TaskFacts, policy: AdvicePolicy) -> float:
    """The share of accepted answers to audit, so that a month brings enough audits to see quality fall."""
    if facts.jobs_a_month <= 0:
        return 1.0
    return min(1.0, max(policy.audit_share, policy.least_audits / facts.jobs_a_month))


def rows_for_certificate(target: float, delta: float, share: float) -> int:
    """The rows below which no certificate can be tried: n x share >= 3 x ln(delta) / ln(target)."""
    return math.ceil(3 * math.log(delta) / math.log(target) / share)


def verdicts_needed(value: float, needed: float, level: float = LEVEL) -> int | None:
    """About so many verdicts put the whole interval of a quality that goes on as seen above what is needed; None where none would."""
    return rows_expected(value, needed, (1 - level) / 2)
