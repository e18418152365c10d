"""The report's page: one HTML file that loads nothing and runs nothing, reads well on a screen and prints well. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Final
from xml.etree.ElementTree import Element

from orchestrator.rightsizing.advice.advise import Advice
from orchestrator.rightsizing.advice.page.markup import Part, foreign, section, tag, written
from orchestrator.rightsizing.advice.page.money import glance, lead, savings_section
from orchestrator.rightsizing.advice.page.task import task_section
from orchestrator.rightsizing.advice.savings import Savings
from orchestrator.rightsizing.advice.words import counted, long_day
from orchestrator.rightsizing.evidence.facts import TaskFacts

MOST_TASKS: Final = 40
"""That have a section of their own."""
NOTES: Final = (
    "Intervals hold in 95 of 100 cases. Those of quality are exact for the number of answers that were looked at; those of prices take the "
    "mean of the charges to be normal.",
    "Quality is told by its source, and sources are never mixed. Agreement with the reference is not accuracy: two models that are each right "
    "98 times in 100, independently, agree about 96 times in 100.",
    "What the reference would have cost on work that others answered is told by audits of such work, where there are any.",
    "Audits and training are taken off what was saved, although callers do not pay them.",
)


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page tells: facts, advice and savings of the same tasks, in the same order."""

    savings: Savings
    tasks: Sequence[TaskFacts]
    advice: Sequence[Advice]
    title: str = "Right-sizing"
    made_on: date | None = None


def page_html(report: Report) -> str:
    """The whole page."""
    style = (files(__package__) / "style.css").read_text(encoding="utf-8")
    head = tag(
        "head", tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"), tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"), tag("meta", name="generator", content="rightsize"),
        tag("title", report.title),
    )  # fmt: skip
    sheet = Element("style")
    sheet.text = style  # as it is: `tag` would take out its line ends, and the digest would be another
    head.append(sheet)
    body = tag("body", tag("main", *_body(report)))
    return f"<!DOCTYPE html>\n{written(tag('html', head, body, lang='en'))}\n"


def _body(report: Report) -> Iterator[Part]:
    yield _heading(report)
    yield tag("p", lead(report.savings), class_="lead")
    yield simulated(report)
    yield glance(report.savings)
    yield savings_section(report.savings)
    told = sorted(
        zip(report.savings.tasks, report.tasks, report.advice, strict=True), key=lambda one: -one[0].whole_usd
    )
    for number, (saved, facts, advice) in enumerate(told[:MOST_TASKS], 1):
        yield task_section(facts, advice, saved, f"task-{number}")
    if len(told) > MOST_TASKS:
        yield tag(
            "p",
            f"{counted(len(told) - MOST_TASKS, 'further task')}, which cost less, stand in the table of savings alone.",
            class_="note",
        )
    yield section("notes", "How to read it", *(tag("p", one, class_="note") for one in NOTES))


def _heading(report: Report) -> Element:
    savings = report.savings
    said = {
        "Period": f"{long_day(savings.since)} to {long_day(savings.until)}",
        "Tasks": ", ".join(one.task for one in savings.tasks[:6]),
    }
    if len(savings.tasks) > 6:
        said["Tasks"] += f" and {len(savings.tasks) - 6} more"
    if report.made_on is not None:
        said["Made on"] = long_day(report.made_on)
    rows = [tag("div", tag("dt", name), tag("dd", foreign(value))) for name, value in said.items()]
    return tag(
        "header",
        tag("p", "Report on cost and quality", class_="kind"),
        tag("h1", foreign(report.title)),
        tag("dl", *rows, class_="said"),
    )


def simulated(report: Report) -> Element | None:
    """That models were simulated, before any figure, where they were."""
    names = report.savings.simulated
    if not names:
        return None
    told = f" Answers of {', '.join(names[:6])}{' and others' if len(names) > 6 else ''} are made up, and their times and prices are those of "
    rest = "a price list, not of work that was done. Where a figure rests on them it shows how the report works, and no saving that was made."
    return tag("aside", tag("strong", "Simulated models."), told, rest, class_="warning", aria_label="Simulated models")


def _policy(style: str) -> str:
    """Nothing may be loaded or run, and no style holds but ours, even if something got past the escaping."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
