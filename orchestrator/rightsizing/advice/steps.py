"""The rules by which a task's next step is chosen, in their order: the first that has something to say decides. Pure.

Each rule gives one sentence that says why. A rule may also say that nothing is to be done, and why not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from orchestrator.rightsizing.advice.case import IDLE, LIVE, Case, Step
from orchestrator.rightsizing.advice.words import SIGNS, counted, long_day, money, percent, wait_of
from orchestrator.rightsizing.evidence.facts import CertificateFacts, Stage, TaskFacts

NEXT: Final[dict[Stage, Stage]] = {"none": "shadow", "demoted": "shadow", "shadow": "canary", "canary": "full"}
LONGEST_WAIT_MONTHS: Final = 12


def next_step(case: Case) -> Step:
    """The next step of a task."""
    return next(step for rule in RULES if (step := rule(case)) is not None)


def no_work(case: Case) -> Step | None:
    """Nothing came."""
    if case.facts.jobs:
        return None
    return Step(
        "no_work", None, "No job of this task was delivered in the period: there is nothing to move.", is_warning=True
    )


def unknown_price(case: Case) -> Step | None:
    """Nobody knows what the reference costs."""
    if case.sums is not None:
        return None
    why = (
        f"What a job costs on the reference {case.facts.reference} is not known: it answered none, and has no rate card. "
        "Send some of the task's work to it, and ask again."
    )
    return Step("unknown_price", None, why, is_warning=True)


def at_risk(case: Case) -> Step | None:
    """What the specialist answers alone is surely below what was promised."""
    watched = case.watched
    if case.facts.stage.stage not in LIVE or watched is None or watched.quality.high >= watched.promised:
        return None
    why = f"Of {watched.sentence}, which lies wholly below the {percent(watched.promised)} that is needed: go back to the reference."
    return Step("at_risk", case.command("demote"), why, is_warning=True)


def frozen(case: Case) -> Step | None:
    """A person stopped it."""
    if not case.facts.stage.frozen:
        return None
    why = f"The task is frozen at stage {case.facts.stage.stage} by hand: it stays there until somebody promotes or demotes it."
    return Step("frozen", None, why)


def resting(case: Case) -> Step | None:
    """It was demoted a short while ago."""
    stage = case.facts.stage
    day = stage.demoted_on or (stage.since if stage.stage == "demoted" else None)
    if day is None or stage.stage not in IDLE:
        return None
    again = day + timedelta(days=case.policy.rest_days)
    if case.facts.until < again:
        why = (
            f"It was demoted on {long_day(day)}. Until {long_day(again)} it rests, so that it does not go back and forth: the reference answers, and its "
            "answers are the rows of the next training."
        )
        return Step("resting", None, why, is_warning=True)
    if _is_after(case.certificate, day):
        return None
    why = f"It was demoted on {long_day(day)}: what it learned no longer fits the work that comes, so it is trained anew before it is certified again."
    return Step("retrain", case.command("train --from-history"), why)


def _is_after(certificate: CertificateFacts | None, day: date) -> bool:
    return certificate is not None and certificate.day is not None and certificate.day > day


def too_little(case: Case) -> Step | None:
    """A specialist would not earn what it takes at this volume."""
    sums, policy = case.sums, case.policy
    if sums is None or case.facts.stage.stage in LIVE or case.cascade is not None:
        return None
    share = sums.break_even_share
    if share is not None and share <= policy.likely_share:
        return None
    volume = f"{case.facts.jobs_a_month:,.0f} jobs a month"
    if sums.most_saved_usd <= 0:
        why = (
            f"At {volume} a specialist cannot save anything: {percent(sums.audit_share)} of what it answered would have to be audited at "
            f"{money(sums.reference_usd)} each to see its quality fall. Leave the task where it is."
        )
    else:
        must = "more than all" if share is None else percent(share)
        why = (
            f"At {volume} a specialist that answered everything alone would save {money(sums.most_saved_usd)} a month, against "
            f"{money(sums.once_usd)} for training and labels: it would have to answer {must} of them alone to have earned that within "
            f"{policy.payback_months:g} months, and more than {percent(policy.likely_share)} is seldom reached. Leave the task where it is."
        )
    return Step("too_little_volume", None, why, is_warning=True)


def single(case: Case) -> Step | None:
    """One cheaper model does all of it well enough."""
    best = None if case.plane is None else case.plane.best_single
    if (
        best is None
        or best.is_reference
        or case.plane is None
        or case.plane.needed is None
        or case.facts.stage.stage in LIVE
    ):
        return None
    if case.cascade is not None and case.cascade.usd.usd <= best.usd.usd:
        return None
    model = case.facts.model(best.name)
    if model is None or model.is_specialist:
        return None
    if model.jobs * 2 > case.facts.jobs:
        why = (
            f"{best.name} answers most of it already, and {percent(best.quality.low)} or more {SIGNS[best.quality.source]}, where "
            f"{percent(case.plane.needed)} is needed. Nothing is to be done."
        )
        return Step("single_in_use", None, why)
    why = (
        f"{best.name} alone does it: {percent(best.quality.low)} or more {SIGNS[best.quality.source]}, where {percent(case.plane.needed)} is "
        f'needed, at {money(best.usd.usd)} a job. Requests can name it: "model": "{best.name}".'
    )
    reference = case.facts.reference_facts
    is_apart = reference is not None and reference.tier != best.tiers[0]
    command = f"rightsize submit FILE --task {case.facts.task} --tier {best.tiers[0]}"
    return Step("single", command if is_apart else None, why)


def no_specialist(case: Case) -> Step | None:
    """There is none yet: train it, or say what is missing for that."""
    facts = case.facts
    if facts.specialist is not None:
        return None
    reference = facts.reference_facts
    rows = (0 if reference is None else reference.answers) + facts.audits.count + facts.labels
    needed = case.rows_to_train
    if rows >= needed:
        why = (
            f"{counted(rows, 'row')} with an answer of the reference or a label are enough to train a specialist and "
            "to hold it to what it did not see."
        )
        return Step("train", case.command("train --from-history"), why)
    wait = wait_of(needed - rows, facts.jobs_a_month)
    why = (
        f"There are {counted(rows, 'row')} with an answer of the reference or a label; a specialist and its certificate need {needed:,}. "
        f"At today's volume the other {needed - rows:,} come within {wait}{_too_long(needed - rows, facts)}."
    )
    return Step("collect", None, why, is_warning=True)


def _too_long(rows: int, facts: TaskFacts) -> str:
    is_long = rows > facts.jobs_a_month * LONGEST_WAIT_MONTHS
    return ": too little volume for a specialist" if is_long else ""


def certificate_missing(case: Case) -> Step | None:
    """The specialist may not answer alone: certify it, or say what is missing for that."""
    certificate = case.certificate
    if (
        certificate is not None
        and certificate.holds_on(case.facts.until)
        and certificate.target >= (case.asked_target or 0) - 1e-9
    ):
        return None
    if certificate is not None and not certificate.issued:
        return _after_an_attempt(case, certificate)
    reason = _why_missing(case, certificate)
    if case.rows >= case.rows_needed:
        return Step(
            "certify", case.certify, f"{reason} {counted(case.rows, 'row')} that fitting never saw can be used for one."
        )
    return _more_rows(case, reason, case.rows_needed - case.rows)


def _why_missing(case: Case, certificate: CertificateFacts | None) -> str:
    if certificate is None:
        return "The specialist has no certificate, without which it answers nothing alone."
    if certificate.is_void:
        return "Its certificate is void, since the reference, the task or the specialist changed after it."
    if not certificate.holds_on(case.facts.until):
        ended = "" if certificate.expires is None else f" on {long_day(certificate.expires)}"
        return f"Its certificate ended{ended}."
    return f"Its certificate promises {percent(certificate.target)}, and {percent(case.target)} is needed."


def _after_an_attempt(case: Case, certificate: CertificateFacts) -> Step:
    """What follows an attempt that issued nothing."""
    said = f" ({certificate.reason.rstrip('.')})" if certificate.reason else ""
    before = f"The last attempt at a certificate issued nothing{said}."
    if certificate.is_hopeless:
        why = (
            f"{before} No number of rows would do: the specialist is not right often enough where it is surest. Train it on more or better "
            f"rows, or ask for less than {percent(certificate.target)}."
        )
        return Step("not_good_enough", None, why, is_warning=True)
    left = (case.rows_needed if certificate.more_labels is None else certificate.more_labels) - case.rows
    if left <= 0:
        return Step(
            "certify", case.certify, f"{before} Since then {counted(case.rows, 'fresh row')} came, which should do."
        )
    return _more_rows(case, before, left)


def _more_rows(case: Case, before: str, left: int) -> Step:
    """More rows are needed: labels by a person, or second answers that the shadow brings."""
    if case.source == "labels":
        # Rows of two draws are never counted together: what is there already is of another one.
        whole = left + case.facts.held_labels
        why = f"{before} It needs {counted(whole, 'label')} of one draw by chance: the command makes it, and says how labels are handed in."
        return Step("label", case.label(whole), why)
    if case.facts.stage.stage != "shadow":
        why = f"{before} It needs {counted(left, 'more row')} that both answered: in the shadow they come by themselves, and nothing is risked."
        return Step("shadow", case.command("promote --to shadow"), why)
    wait = wait_of(left, case.facts.jobs_a_month * case.policy.shadow_share)
    why = f"{before} It needs {counted(left, 'more row')} that both answered; the shadow brings them within {wait}."
    return Step("collect", None, why)


def renew(case: Case) -> Step | None:
    """The certificate ends soon."""
    certificate = case.certificate
    if certificate is None or certificate.expires is None:
        return None
    if case.facts.until + timedelta(days=case.policy.renew_days) < certificate.expires:
        return None
    ends = f"Its certificate ends on {long_day(certificate.expires)}; after that it answers nothing alone."
    if case.rows >= case.rows_needed:
        return Step("renew", case.certify, ends)
    whole = case.rows_for("labels")
    why = f"{ends} {counted(whole, 'fresh label')} of one draw would do for the next one; without them it goes back to the shadow, which brings its rows."
    return Step("renew", case.label(whole), why)


def no_gain(case: Case) -> Step | None:
    """The cascade would cost no less."""
    if case.cascade is None or case.pays or case.facts.stage.stage in LIVE:
        return None
    why = (
        f"With the share that its certificate gives, a job would cost {money(case.cascade.usd.usd)}, audits included: no less than on the "
        "reference alone. The specialist would not pay; leave the task where it is."
    )
    return Step("no_gain", None, why, is_warning=True)


def promote(case: Case) -> Step | None:
    """The next stage, once the one before brought its audits."""
    stage = case.facts.stage.stage
    if stage not in NEXT:
        return None
    following = NEXT[stage]
    command = case.command(f"promote --to {following}")
    if stage in IDLE:
        return Step(
            "promote",
            command,
            "Its certificate holds. In shadow both answer, and the reference's answers are delivered: nothing is risked.",
        )
    missing = case.policy.stage_audits - case.stage_audits
    if missing > 0:
        why = (
            f"Stage {stage} has {counted(case.stage_audits, 'audit')}; {missing:,} more are to come before {following}."
        )
        return Step("wait_for_audits", None, why)
    watched = case.watched
    if watched is not None and watched.quality.value < watched.promised:
        why = (
            f"Quality is at risk: of {watched.sentence}, and {percent(watched.promised)} is needed. More audits will tell; stay at stage {stage} "
            "until they speak for it."
        )
        return Step("unsure", None, why, is_warning=True)
    return Step("promote", command, f"Its certificate holds, and {counted(case.stage_audits, 'audit')} speak for it.")


def settled(case: Case) -> Step | None:
    """It is where it should be."""
    since = "" if case.facts.stage.since is None else f" since {long_day(case.facts.stage.since)}"
    return Step(
        "settled", None, f"It runs in full under its certificate{since}, and audits go on. Nothing is to be done."
    )


RULES: Final[tuple[Callable[[Case], Step | None], ...]] = (
    no_work, unknown_price, at_risk, frozen, resting, too_little, single, no_specialist, certificate_missing, renew, no_gain, promote, settled,
)  # fmt: skip
