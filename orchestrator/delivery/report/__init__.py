"""A batch of documents as one page that can be handed on: a single HTML file that loads nothing and runs nothing, and prints well."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from string import Template

from orchestrator.delivery.answers import Line
from orchestrator.delivery.columns import Schema
from orchestrator.delivery.plain import one_line
from orchestrator.delivery.report import sections
from orchestrator.delivery.report.markup import Html, foreign, joined, tag
from orchestrator.delivery.summary import Summary, summed
from orchestrator.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands at the head of a report."""

    title: str
    batch: str = ""
    task: str = ""
    """Where it is empty, the task that the lines name."""
    made_on: date | None = None


def write_report(
    source: Summary | Iterable[Line], out: str | os.PathLike[str], heading: Heading, *, schema: Schema | None = None
) -> Summary:
    """Write the report on a batch as one HTML file, whole or not at all; returns its figures.

    `source` is the figures, or the result lines, which are added up as they come; `schema` is the task's, and says then which fields there
    are. Raises InvalidRequest where the file cannot be written.
    """
    summary = source if isinstance(source, Summary) else summed(source, schema)
    target = Path(os.path.realpath(out))
    temporary = target.with_name(f".rightsize-{secrets.token_hex(8)}")
    try:
        temporary.write_text(report_html(summary, heading), encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise InvalidRequest(
            f"Cannot write {out}: {error.strerror}. Name a file in a folder that you may write to."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def report_html(summary: Summary, heading: Heading) -> str:
    """The report's page."""
    style = _resource("style.css")
    title = one_line(heading.title, 200) or "Documents"
    return Template(_resource("page.html")).substitute(
        policy=_policy(style),
        style=style,
        title=joined([title]),
        head=_head(summary, heading, title),
        body=joined(sections.all_of(summary)),
    )


def _head(summary: Summary, heading: Heading, title: str) -> Html:
    tasks = [name for name, _ in summary.tasks.most_common(3)]
    said = {
        "Batch": one_line(heading.batch, 100),
        "Task": one_line(heading.task, 100) or ", ".join(tasks),
        "Date": "" if heading.made_on is None else f"{heading.made_on.day} {heading.made_on:%B %Y}",
    }
    told = [tag("div", tag("dt", name), tag("dd", foreign(value))) for name, value in said.items() if value]
    return joined(
        [
            tag("p", "Report on a batch of documents", class_="kind"),
            tag("h1", foreign(title)),
            tag("dl", *told, class_="said"),
        ]
    )


def _policy(style: str) -> str:
    """Nothing may be loaded or run, and no style holds but ours: even if something got past the escaping, a browser would leave it alone."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _resource(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
