"""Options that many commands share, each checked under its own name before anything is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.completing import batch_ids
from orchestrator.contracts import Stakes
from orchestrator.errors import InvalidRequest
from orchestrator.hints import hints_from, window_seconds
from orchestrator.requests import ACCEPTED, CHAT


class TierChoice(StrEnum):
    """A tier, or the decision tree."""

    AUTO = "auto"
    SLM = "slm"
    LLM = "llm"
    RLM = "rlm"
    MLLM = "mllm"


class EncoderChoice(StrEnum):
    """Whether a model that is learned looks at sentence vectors."""

    AUTO = "auto"
    NONE = "none"


def hint(name: str, remedy: str) -> Callable[[Any], Any]:
    """A check of a flag that goes out as the hint `name`, by the rule that the service itself has."""

    def check(value: Any) -> Any:
        try:
            hints_from({name: value})
        except InvalidRequest as error:
            raise typer.BadParameter(f"{value!r}: {remedy}") from error
        return value

    return check


def named(value: str) -> str:
    """What is handed in, as it was typed: a path, a pattern, or the address of a bucket or document."""
    if not value:
        raise typer.BadParameter("it is empty. Is a variable not set? Give a path.")
    return value


def bounds_of(cascade: str | None, min_tier: str | None, max_tier: str | None, *, escalate: bool) -> dict[str, Any]:
    """The hints of the flags that say which tiers may be asked; raises BadParameter, by the rule that the service itself has."""
    tiers = None if cascade is None else [one.strip() for one in cascade.split(",") if one.strip()]
    given = {"cascade": tiers, "min_tier": min_tier, "max_tier": max_tier, "escalate": escalate or None}
    found = {name: value for name, value in given.items() if value is not None}
    try:
        hints_from(found)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message.replace("rightsize.", "").replace("_tier", "-tier")) from error
    return found


def place(value: str | Path) -> Path:
    """A path as it was typed. An empty one, as of a variable that is not set, would mean the current folder."""
    if not str(value):
        raise typer.BadParameter("it is empty. Is a variable not set? Give a path.")
    return Path(value)


def check_file(path: Path | None) -> None:
    """Refuse a file that is not there or cannot be read, before servers are started for it."""
    if path is None:
        return
    if not path.is_file():
        raise typer.BadParameter(f"{str(path)!r} {'is no file' if path.exists() else 'does not exist'}. Give a file.")
    if not os.access(path, os.R_OK):
        raise typer.BadParameter(f"{str(path)!r} is not readable for you: change its mode, or run as its owner.")


def some_id(value: str | None) -> str | None:
    """An id that says something. An empty one, as of a variable that is not set, would mean whatever there is."""
    if value is not None and not value.strip():
        raise typer.BadParameter(f"{value!r} is no id. Is a variable not set? `{again('status')}` lists the batches.")
    return value


def known_endpoint(value: str) -> str:
    """An endpoint that the service has."""
    if value not in ACCEPTED:
        raise typer.BadParameter(f"{value!r} is not served. Give one of {', '.join(sorted(ACCEPTED))}.")
    return value


def checked_deadline(value: str) -> str:
    """A time from now such as 24h, by the rule that the service itself has."""
    try:
        window_seconds(value)
    except InvalidRequest as error:
        raise typer.BadParameter(f"{value!r}: give a number and a unit, such as 24h, 90m or 7d, up to 30d.") from error
    return value


def checked_day(value: str | None) -> str | None:
    """A day such as 2026-11-01."""
    try:
        return None if value is None else date.fromisoformat(value).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{value!r}: give a day as year, month and day, such as 2026-11-01.") from None


def json_flag(shape: str) -> Any:
    """`--json`, with what it prints."""
    return typer.Option("--json", help=f"Print JSON for programs: {shape}.")


BATCH_SHAPE: Final = (
    "the batch object with `id`, `status`, `request_counts`, `usage`, `rightsize` (`tiers`, `states`, `cost_usd`)"
)
_task_name = hint("task", "a task's name is lower-case letters, digits and dashes, at most 63.")

BatchId = Annotated[
    str,
    typer.Argument(metavar="BATCH", help="The id of a batch (batch_...).", autocompletion=batch_ids, callback=some_id),
]
WorkPlace = Annotated[
    str,
    typer.Argument(
        metavar="PATH|FILE.jsonl|-",
        callback=named,
        help="A file, a folder (everything in it), rows in JSONL, or - for standard input. Of documents also an archive, a pattern in "
        "quotes, a table with --text-column or --path-column, s3://BUCKET/PREFIX, a URL, or @FILE with URLs.",
    ),
]
Instructions = Annotated[str | None, typer.Option("--instructions", help="What to do with each file or plain row.")]
EndpointOption = Annotated[
    str, typer.Option("--endpoint", callback=known_endpoint, help="What is asked of each row, such as /v1/classify.")
]
ENDPOINT: Final = CHAT
Strict = Annotated[bool, typer.Option("--strict", help="With --wait: leave with code 3 if any row failed.")]
Task = Annotated[
    str,
    typer.Argument(metavar="TASK", help="The named kind of work, such as support-triage.", callback=_task_name),
]
TaskHint = Annotated[
    str | None,
    typer.Option("--task", help="The named kind of work; one with a specialist may go to slm.", callback=_task_name),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="A,B,...", help="Of the task classify: what a document may be.", rich_help_panel="Documents"
    ),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE.json",
        parser=place,
        help="Of the task extract: the JSON Schema of its answers.",
        rich_help_panel="Documents",
    ),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question",
        metavar="TEXT",
        help="Of the task answer: a question; may be given again.",
        rich_help_panel="Documents",
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=TEXT", help="A parameter of the task; may be given again.", rich_help_panel="Documents"
    ),
]
Password = Annotated[
    str | None,
    typer.Option(
        "--password",
        envvar="RIGHTSIZE_DOCUMENT_PASSWORD",
        help="Of documents that are locked (better: the variable).",
        rich_help_panel="Documents",
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE.jsonl",
        parser=place,
        help="Write a line for each input there: hash, kind, size, pages.",
        rich_help_panel="Documents",
    ),
]
ReportTo = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        parser=place,
        help="With --wait: write a report for people, one page that prints well.",
        rich_help_panel="Documents",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="Each row of the table (CSV, TSV, JSONL, Parquet) is a document: its text stands in this column.",
        rich_help_panel="Documents",
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        "--path-column",
        metavar="NAME",
        help="The same, where this column names a file below the table's folder.",
        rich_help_panel="Documents",
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column", metavar="NAME", help="What the rows' documents are called.", rich_help_panel="Documents"
    ),
]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="HOST",
        help="Fetch URLs of this host, or of all below it (*.example.com); may be given again. Without one none is fetched.",
        rich_help_panel="Documents",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        metavar="N",
        min=1,
        max=1_000,
        help="Run N documents first, taken at random: their answers, their cost, and what all of them would cost. They are not run again.",
        rich_help_panel="Documents",
    ),
]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh", help="Run every document, also those that were answered before.", rich_help_panel="Documents"
    ),
]
TierHint = Annotated[TierChoice, typer.Option("--tier", help="Where to run; auto asks the decision tree.")]
Cascade = Annotated[
    str | None,
    typer.Option(
        "--cascade",
        metavar="A,B,...",
        help="Ask these tiers one after the other, such as slm,llm, until an answer has the form that was asked for.",
        rich_help_panel="Route",
    ),
]
Escalate = Annotated[
    bool,
    typer.Option(
        "--escalate", help="Where an answer has not that form, ask the next tier up.", rich_help_panel="Route"
    ),
]
MinTier = Annotated[
    str | None, typer.Option("--min-tier", help="The least tier: slm, llm or rlm.", rich_help_panel="Route")
]
MaxTier = Annotated[
    str | None, typer.Option("--max-tier", help="The greatest tier: slm, llm or rlm.", rich_help_panel="Route")
]
StakesHint = Annotated[Stakes | None, typer.Option("--stakes", help="How much hangs on a right answer.")]
MaxCost = Annotated[
    str | None,
    typer.Option(
        "--max-cost-usd",
        metavar="X",
        help="The most that the whole of it may cost, in US dollars.",
        callback=hint("max_cost_usd", "give US dollars from 0 to 1000000, such as 0.05."),
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency-s",
        metavar="S",
        help="The most seconds that it may take.",
        callback=hint("max_latency_s", "give seconds from 0.001 to 1000000."),
    ),
]
Deadline = Annotated[
    str,
    typer.Option(
        "--deadline", help="Until when it must be done, such as 24h, 90m or 7d, from now.", callback=checked_deadline
    ),
]
ResultsTo = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="PATH|-",
        parser=place,
        help="Write one line for each row there; - is standard output. A file appears once it is whole. Of documents also a .csv, a "
        ".parquet, or a folder with a file for each.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="PATH",
        parser=place,
        help="The local instance's folder (default: RIGHTSIZE_DATA_DIR, then your user's data folder).",
        rich_help_panel="Where",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        parser=place,
        help="The rightsize.toml (default: RIGHTSIZE_CONFIG, then ./rightsize.toml, then the sample fleet).",
        rich_help_panel="Where",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="RIGHTSIZE_URL",
        help="A Rightsize that runs elsewhere, such as https://rightsize.example (default: the local instance).",
        rich_help_panel="Where",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="RIGHTSIZE_API_KEY", help="Its API key (better: the variable).", rich_help_panel="Where"
    ),
]
