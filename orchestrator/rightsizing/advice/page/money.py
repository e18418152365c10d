"""The page's part about money: what was spent, what it would have been, and what was saved. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from xml.etree.ElementTree import Element

from orchestrator.rightsizing.advice.page import bars
from orchestrator.rightsizing.advice.page.bars import Bar
from orchestrator.rightsizing.advice.page.markup import Part, figures, foreign, section, tag
from orchestrator.rightsizing.advice.page.texts import DASH, points, share_of, shares, sum_of
from orchestrator.rightsizing.advice.savings import Savings, TaskSavings
from orchestrator.rightsizing.advice.words import counted, money, percent
from orchestrator.rightsizing.evidence.facts import Amount


def lead(savings: Savings) -> str:
    """The whole report in a few sentences."""
    if not savings.jobs:
        return "No job was delivered in the period: there is nothing to report."
    said = [f"Callers paid {money(savings.spent_usd)} for {counted(savings.jobs, 'job')}."]
    if savings.unknown:
        said.append(f"What {', '.join(savings.unknown)} would have cost on the reference is not known.")
    if savings.on_reference.usd <= 0:
        return " ".join(said)
    said.append(f"On the reference alone it would have been {sum_of(savings.on_reference)}.")
    saved, own = savings.saved, money(savings.audit_usd + savings.training_usd)
    if saved.usd > 0:
        rate = percent(float(saved.usd / savings.on_reference.usd))
        said.append(f"Net of {own} for audits and training, {sum_of(saved)} was saved, {rate} of it.")
    elif saved.usd < 0:
        said.append(f"With {own} for audits and training, it took {money(-saved.usd)} more than that.")
    else:
        said.append("Nothing was saved.")
    return " ".join(said)


def glance(savings: Savings) -> Element:
    """The figures that come first."""
    known = savings.on_reference.usd > 0
    rate = percent(float(savings.saved.usd / savings.on_reference.usd)) if known else DASH
    shown = {
        "jobs": f"{savings.jobs:,}", "paid by callers": money(savings.spent_usd),
        "on the reference": money(savings.on_reference.usd) if known else DASH,
        "audits and training": money(savings.audit_usd + savings.training_usd),
        "saved, net": money(savings.saved.usd) if known else DASH, "saved, as a share": rate,
    }  # fmt: skip
    return tag("dl", *(tag("div", tag("dd", value), tag("dt", name)) for name, value in shown.items()), class_="glance")


def savings_section(savings: Savings) -> Element:
    """Savings of all tasks together, and one by one."""
    all_bars = [bars.whole("All on the reference", savings.on_reference)] if savings.on_reference.usd > 0 else []
    if savings.on_single.usd != savings.on_reference.usd and all_bars:
        all_bars.append(bars.whole("All on the best single model", savings.on_single))
    answers = savings.spent_usd - savings.escalation_usd
    all_bars.append(_taken("As it was", answers, savings.escalation_usd, savings.audit_usd, savings.training_usd))
    drawn = tag("figure", bars.drawing(all_bars, "Spend of all tasks", "spend"), bars.legend(all_bars))
    return section("savings", "Savings", drawn, _table(savings), *_remarks(savings))


def task_bars(one: TaskSavings, name: str) -> Element | None:
    """One task's spend; nothing where it was all on the reference, and there is nothing to hold it against."""
    shown: list[Bar] = []
    if one.on_reference is not None:
        shown.append(bars.whole(f"All on {one.reference}", one.on_reference))
    if one.on_single is not None and one.single not in {None, one.reference}:
        shown.append(bars.whole(f"All on {one.single}", one.on_single))
    if one.on_reference is not None and len(shown) == 1 and one.whole_usd == one.on_reference.usd:
        return None
    shown.append(_taken("As it was", one.answers_usd, one.escalation_usd, one.audit_usd, one.training_usd))
    return tag("figure", bars.drawing(shown, f"Spend of {one.task}", name), bars.legend(shown))


def _taken(name: str, answers: Decimal, escalation: Decimal, audits: Decimal, training: Decimal) -> Bar:
    return bars.spent(name, answers=answers, escalation=escalation, audits=audits, training=training)


def _table(savings: Savings) -> Element:
    rows = [_row(one) for one in savings.tasks]
    total: list[Part] = [
        "All", f"{savings.jobs:,}", money(savings.spent_usd), ranged(savings.on_reference), ranged(savings.on_single),
        _own(savings.audit_usd, savings.training_usd), ranged(savings.saved), "",
    ]  # fmt: skip
    columns = (
        "Task",
        "Jobs",
        "Paid",
        "On the reference",
        "On the best single model",
        "Audits and training",
        "Saved, net",
        "Quality delivered",
    )
    return figures(
        columns, rows, "Spend, what it would have been, and the quality beside it", total=total if len(rows) > 1 else ()
    )


def _row(one: TaskSavings) -> Sequence[Part]:
    single: Part = DASH
    if one.on_single is not None:
        single = "the reference" if one.single == one.reference else ranged(one.on_single, one.single or "")
    quality: Part = DASH
    if one.quality is not None:
        change = "" if one.quality_change is None else f"; against the reference {points(one.quality_change)}"
        quality = tag("span", share_of(one.quality), tag("span", f"by {one.quality.source}{change}", class_="why long"))
    saved: Part = DASH if one.saved is None else ranged(one.saved, shares(one.share) if one.saved.usd else "")
    return [
        foreign(one.task), f"{one.jobs:,}", money(one.spent_usd), ranged(one.on_reference), single, _own(one.audit_usd, one.training_usd), saved, quality,
    ]  # fmt: skip


def ranged(amount: Amount | None, below: str = "") -> Part:
    """A sum, with its interval and a word in small type below it."""
    if amount is None:
        return DASH
    low, high = money(amount.low_usd), money(amount.high_usd)
    ends = "" if low == high else f"{low} to {high}"
    small = [tag("span", words, class_="why") for words in (ends, below) if words]
    return tag("span", money(amount.usd), *small)


def _own(audits: Decimal, training: Decimal) -> Part:
    """What we paid for it ourselves."""
    parts = [f"{name} {money(usd)}" for name, usd in (("audits", audits), ("training", training)) if usd]
    small = [tag("span", words, class_="why") for words in parts] if len(parts) > 1 else []
    return tag("span", money(audits + training), *small)


def _remarks(savings: Savings) -> list[Part]:
    """What a reader must know of the sums."""
    made: list[Part] = []
    for one in savings.tasks:
        if (
            one.on_reference is not None
            and not one.rests_on_audits
            and one.saved is not None
            and one.saved.usd != -one.training_usd
        ):
            made.append(
                tag(
                    "p",
                    foreign(one.task),
                    " had no audits: its cost on the reference is that of the reference’s own answers.",
                    class_="note",
                )
            )
        if one.training_usd > 0:
            made.append(tag("p", foreign(one.task), _break_even(one), class_="note"))
    return made


def _break_even(one: TaskSavings) -> str:
    if one.break_even_jobs is None:
        return f": its training, {money(one.training_usd)}, is not paid back, since a job saves nothing."
    state = "that is behind it" if one.jobs >= one.break_even_jobs else f"{one.jobs:,} of them came"
    return (
        f": its training, {money(one.training_usd)}, is paid back after {counted(one.break_even_jobs, 'job')}; {state}."
    )
