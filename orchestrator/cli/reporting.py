"""The command that reports what right-sizing saved: report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.cli.again import again
from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, checked_day, json_flag, place
from orchestrator.cli.saving import STANDARD, check_target, write_lines
from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.advice.words import between, money, percent

SHAPE: Final = "`since`, `until`, `tasks` (with `spent_usd`, `on_reference`, `on_single`, `saved`, `quality`, `break_even_jobs`), and the sums of all"
SUMS: Final = ("jobs", "paid", "on the reference", "best single model", "audits", "training", "saved, net", "share")


def report(
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="From this day on (UTC; default: 30 days).", callback=checked_day)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="Up to this day, it included (UTC; default: today).", callback=checked_day)] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE.html", parser=place, help="Write the report for people there: one page with plots that prints well.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(SHAPE)] = False,
) -> None:  # fmt: skip
    """Show what was spent, against all of it on the reference and on the best single model, with the quality beside it.

    Audits and training are taken off what was saved.

    Examples:
      rightsize report --since 2026-11-01
      rightsize report --html savings.html
    """
    if since is not None and until is not None and since > until:
        raise InvalidRequest(
            f"The period from {since} to {until} has no day: give --since a day that is not after --until."
        )
    if html is not None:
        check_target(html)
    if html == STANDARD and as_json:
        raise typer.BadParameter("--json and --html - both want standard output: give one.")
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found: Mapping[str, Any] = server_command("report")(settings, since=since, until=until, html=html is not None)
    if html is not None:
        write_lines([str(found["html"]).encode("utf-8", "replace")], html)
        if html != STANDARD:
            note(f"The report is in {html}")
    if as_json:
        print_json(found["savings"])
    elif html != STANDARD:
        show_savings(found["savings"])


def show_savings(savings: Mapping[str, Any]) -> None:
    """The savings of all tasks."""
    tasks: Sequence[Mapping[str, Any]] = savings["tasks"]
    if not tasks:
        note(f"No task had work in that time. Hand some in: {again('submit FILE --task TASK')}")
        return
    out.print(f"{savings['since']} to {savings['until']}")
    rows = table("", "task", *SUMS, right=SUMS)
    for one in tasks:
        rows.add_row(one["task"], *_sums(one))
    if len(tasks) > 1:
        rows.add_section()
        rows.add_row("all", *_sums(savings))
    out.print(rows)
    for one in tasks:
        _say(f"{one['task']}: quality {_quality(one)}.")
        if Decimal(one["training_usd"]) > 0:
            _say(_break_even(one))
    if savings["unknown"]:
        _say(
            f"What the reference costs is not known of {', '.join(savings['unknown'])}: they are in no sum of savings."
        )
    if savings["simulated"]:
        _say(f"Simulated, so that what rests on them was not saved: {', '.join(savings['simulated'])}.")


def _sums(one: Mapping[str, Any]) -> list[str]:
    """The sums of a task or of all."""
    share = one["share"]
    return [
        f"{one['jobs']:,}", money(Decimal(one["spent_usd"])), _amount(one["on_reference"]), _amount(one["on_single"]),
        money(Decimal(one["audit_usd"])), money(Decimal(one["training_usd"])), _amount(one["saved"]),
        "-" if share is None else between(percent(share["low"]), percent(share["high"])),
    ]  # fmt: skip


def _amount(amount: Mapping[str, str] | None) -> str:
    if amount is None:
        return "-"
    usd, low, high = (money(Decimal(amount[name])) for name in ("usd", "low_usd", "high_usd"))
    return usd if low == high else f"{usd} ({low} to {high})"


def _quality(one: Mapping[str, Any]) -> str:
    """The quality of what was delivered, with its source, and how it stands to the reference's."""
    quality, change = one["quality"], one["quality_change"]
    if quality is None:
        return "not measured"
    ends = between(percent(quality["low"]), percent(quality["high"]))
    told = f"{percent(quality['value'])} ({ends}) by {quality['source']}"
    return (
        told
        if change is None
        else f"{told}, {100 * change['low']:+.1f} to {100 * change['high']:+.1f} points against the reference"
    )


def _break_even(one: Mapping[str, Any]) -> str:
    paid = money(Decimal(one["training_usd"]))
    if one["break_even_jobs"] is None:
        return f"{one['task']}: its training, {paid}, is not paid back, since a job saves nothing."
    return f"{one['task']}: its training, {paid}, is paid back after {one['break_even_jobs']:,} jobs."


def _say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)
