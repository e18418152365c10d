"""The page's part about one task: where it stands, what to do next, its ways on a plane of cost and quality, and its models. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from orchestrator.rightsizing.advice.advise import Advice, Option
from orchestrator.rightsizing.advice.page import plane as plot
from orchestrator.rightsizing.advice.page.markup import Part, figures, foreign, listed, section, tag, with_code
from orchestrator.rightsizing.advice.page.money import ranged, task_bars
from orchestrator.rightsizing.advice.page.texts import DASH, seconds, share_of, shares
from orchestrator.rightsizing.advice.savings import TaskSavings
from orchestrator.rightsizing.advice.words import SIGNS, between, counted, long_day, money, percent
from orchestrator.rightsizing.evidence.facts import SOURCES, CertificateFacts, ModelFacts, Source, TaskFacts

STAGES: Final = {
    "none": "No specialist answers for it",
    "demoted": "Demoted: the reference answers all of it",
    "shadow": "Shadow: the specialist answers beside the reference, whose answers are delivered",
    "canary": "Canary: the specialist answers a small share",
    "full": "Full: the specialist answers whatever its certificate allows",
}


def task_section(facts: TaskFacts, advice: Advice, saved: TaskSavings, anchor: str) -> Element:
    """All of one task."""
    return section(
        anchor, foreign(facts.task), tag("p", *_state(facts), class_="state"), _step(advice), *_planes(advice, anchor),
        task_bars(saved, f"{anchor}-spend"), _options(advice), _models(facts), *_findings(advice),
    )  # fmt: skip


def _state(facts: TaskFacts) -> Iterator[Part]:
    stage = facts.stage
    since = "" if stage.since is None else f", since {long_day(stage.since)}"
    frozen = " It is frozen there by hand." if stage.frozen else ""
    yield tag("b", f"{STAGES[stage.stage]}{since}.")
    yield f"{frozen} {counted(facts.jobs, 'job')} in the period, about {facts.jobs_a_month:,.0f} a month"
    yield f"; {facts.escalated:,} were escalated" if facts.escalated else ""
    yield f"; {counted(facts.audits.count, 'audit')}" if facts.audits.count else ""
    yield f" and {facts.audits.waiting:,} that wait" if facts.audits.waiting else ""
    yield "."
    if stage.certificate is not None:
        yield f" {_certificate(stage.certificate, facts)}"


def _certificate(one: CertificateFacts, facts: TaskFacts) -> str:
    if not one.issued:
        return f"The last attempt at a certificate, on {counted(one.n, 'row')}, issued none: {one.reason or 'the rows do not suffice'}."
    day = "" if one.day is None else f" of {long_day(one.day)}"
    ends = "" if one.expires is None else f" It ends on {long_day(one.expires)}."
    void = "" if one.holds_on(facts.until) else " It does not hold any more."
    return (
        f"The certificate{day} says, by {counted(one.n, 'row')}: at a threshold of {one.threshold or 0:g}, {one.model} answers "
        f"{percent(one.share)} alone ({shares(one.share_interval)}), and with a certainty of {percent(1 - one.delta)} at least "
        f"{percent(one.target)} of these answers {SIGNS[one.source]}.{ends}{void}"
    )


def _step(advice: Advice) -> Element:
    step = advice.step
    parts: list[Part] = [tag("strong", f"{step.opening}. "), with_code(step.why)]
    if step.command:
        parts.append(tag("code", step.command))
    return tag("div", tag("p", *parts), class_="step warns" if step.is_warning else "step")


def _planes(advice: Advice, anchor: str) -> Iterator[Element]:
    for one in advice.planes:
        made = plot.drawing(one, f"{anchor}-{one.source}")
        told = [
            f"Needed is {percent(one.needed)}: {one.why_needed}."
            if one.needed is not None
            else f"What is needed is said by {one.why_needed}."
        ]
        if len(one.front) > 1:
            told.append("The steps are the Pareto front: no cheaper way is as good.")
        if made.unlabelled:
            told.append(f"Without a label, for want of room: {', '.join(made.unlabelled)}.")
        if one.find("cascade") is not None:
            told.append("The diamond is a cascade; its quality comes from its certificate.")
        yield tag("figure", made.svg, tag("figcaption", " ".join(told)))


def _options(advice: Advice) -> Element | None:
    rows = [
        _option(kind, one)
        for kind, one in (("Best single model", advice.best_single), ("Best cascade", advice.best_cascade))
        if one is not None
    ]
    if not rows:
        return None
    columns = (
        "Way",
        "Which",
        "Cost of a job",
        "Quality",
        "Saved a month, against this period",
        "Against the reference",
    )
    return figures(columns, rows, f"At today’s volume, {advice.jobs_a_month:,.0f} jobs a month", words=2)


def _option(kind: str, one: Option) -> Sequence[Part]:
    sure = f"by {one.quality.source}" if one.is_sure else f"by {one.quality.source}; may lie below what is needed"
    quality = tag("span", share_of(one.quality), tag("span", sure, class_="why"))
    return [
        kind,
        tag("span", foreign(one.name), tag("span", "as it is done now", class_="why"))
        if one.is_now
        else foreign(one.name),
        ranged(one.usd),
        quality,
        ranged(one.saved_a_month),
        ranged(one.saved_from_reference),
    ]


def _models(facts: TaskFacts) -> Element | None:
    if not facts.models:
        return None
    known: list[Source] = [source for source in SOURCES if any(model.by(source) for model in facts.models)]
    columns = (
        "Model",
        "Tier",
        "Delivered",
        "Not accepted",
        "Cost of an answer",
        "Median time",
        "Failed",
        *(f"Quality by {one}" for one in known),
    )
    rows = [_model(model, known, is_reference=model.model == facts.reference) for model in facts.models]
    return figures(columns, rows, "Models, with the quality of their answers by each source", words=2)


def _model(one: ModelFacts, known: Sequence[Source], *, is_reference: bool) -> Sequence[Part]:
    marks = [words for words, holds in (("the reference", is_reference), ("simulated", one.simulated)) if holds]
    name = tag("span", foreign(one.model), tag("span", ", ".join(marks), class_="why") if marks else None)
    errors = ", ".join(f"{many:,} {code}" for code, many in sorted(one.errors.items(), key=lambda found: -found[1])[:3])
    failed = tag("span", f"{sum(one.errors.values()):,}", tag("span", errors, class_="why long") if errors else None)
    price = DASH if one.answer_usd is None else money(one.answer_usd)
    shown = [_quality(one, source) for source in known]
    return [name, one.tier, f"{one.jobs:,}", f"{one.rejected:,}", price, seconds(one.latency_s), failed, *shown]


def _quality(one: ModelFacts, source: Source) -> Part:
    found = one.by(source)
    if found is None:
        return DASH
    ends = f"{between(percent(found.low), percent(found.high))} of {found.n:,}"
    return tag("span", percent(found.value), tag("span", ends, class_="why"))


def _findings(advice: Advice) -> Iterator[Part]:
    if advice.reasons:
        yield tag("h3", "What the advice rests on")
        yield listed(advice.reasons, "reasons")
    if advice.missing:
        yield tag("h3", "What is not known yet")
        yield listed(advice.missing, "reasons")
