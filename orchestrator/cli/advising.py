"""The command that advises: advise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from orchestrator.cli.again import again
from orchestrator.cli.connect import server_command, settings_of, with_servers
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, checked_day, hint, json_flag
from orchestrator.rightsizing.advice.words import between, money, percent

SHAPE: Final = (
    "a list with `task`, `planes` (by source: `points`, `front`, `needed`), `best_single`, `best_cascade`, `sums`, `missing`, `reasons`, "
    "`step` (`rule`, `command`, `why`)"
)


def advise(
    task: Annotated[
        str | None,
        typer.Option("--task", help="Only this task (default: all that had work).", callback=hint("task", "a task's name is lower-case letters, digits and dashes, at most 63.")),
    ] = None,
    target: Annotated[float | None, typer.Option("--target", min=0.5, max=0.9999, help="The quality that answers must have (default: the task's own, or a little below the reference's).")] = None,
    delta: Annotated[float, typer.Option("--delta", min=0.0001, max=0.4999, help="The chance that a certificate may be wrong.")] = 0.05,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="From this day on (UTC; default: 30 days).", callback=checked_day)] = None,
    payback_months: Annotated[float, typer.Option("--payback-months", min=0.1, max=120, help="Within so many months a specialist must have earned what it took.")] = 3.0,
    label_usd: Annotated[str, typer.Option("--label-usd", metavar="X", help="What a label costs, in US dollars.", callback=hint("max_cost_usd", "give US dollars from 0 to 1000000, such as 0.05."))] = "0",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(SHAPE)] = False,
) -> None:  # fmt: skip
    """Say for each task what each way to do it costs and how good it is, what would be saved, and the next step.

    It also says when not to move: too little volume, quality at risk, a specialist that would not pay back its training and audits.

    Example:
      rightsize advise --task support-triage
    """
    policy = {"target": target, "delta": delta, "payback_months": payback_months, "label_usd": Decimal(label_usd)}
    with with_servers(settings_of(data_dir, config), workers=False) as settings:
        found: Sequence[Mapping[str, Any]] = server_command("advise")(settings, task=task, since=since, policy=policy)
    if as_json:
        print_json(found)
        return
    for one in found:
        show_advice(one)
    if not found:
        note(f"No task had work in that time. Hand some in: {again('submit FILE --task TASK')}")


def show_advice(advice: Mapping[str, Any]) -> None:
    """One task's advice."""
    out.print(Text(advice["task"], "bold"), end="  ")
    told = f"{advice['jobs_a_month']:,.0f} jobs a month, reference {advice['reference']}, stage {advice['stage']}"
    out.print(told, markup=False, soft_wrap=True)
    for plane in advice["planes"]:
        _show_plane(plane)
    for name, words in (("best_single", "best single model"), ("best_cascade", "best cascade")):
        if advice[name] is not None:
            _say(f"{words}: {advice[name]['name']}, {_saved(advice[name])}")
    for title, sentences in (("", advice["reasons"]), ("Not known yet:", advice["missing"])):
        if title and sentences:
            _say(title)
        for sentence in sentences:
            _say(f"- {sentence}")
    if advice["simulated"]:
        _say(f"Simulated, so that no figure of them was measured: {', '.join(advice['simulated'])}.")
    _show_step(advice["step"])


def _show_plane(plane: Mapping[str, Any]) -> None:
    needed = "" if plane["needed"] is None else f", {percent(plane['needed'])} needed"
    columns = ("way", "tiers", "a job", "quality", "interval", "of", "")
    rows = table(f"by {plane['source']}{needed}", *columns, right=columns[2:6])
    for point in plane["points"]:
        quality = point["quality"]
        ends = between(percent(quality["low"]), percent(quality["high"]))
        rows.add_row(
            point["name"], ", ".join(point["tiers"]), money(Decimal(point["usd"]["usd"])), percent(quality["value"]), ends, f"{quality['n']:,}", _mark(point)
        )  # fmt: skip
    out.print(rows)


def _mark(point: Mapping[str, Any]) -> str:
    words = {"front": "on the front", "uncertain": "may be on the front", "dominated": ""}
    told = [
        "in this period" if point["kind"] == "now" else words[point["standing"]],
        "simulated" if point["simulated"] else "",
    ]
    return ", ".join(one for one in told if one)


def _saved(option: Mapping[str, Any]) -> str:
    """What a way saves or costs a month, against the period's mean; where the task is done like this already, against the reference."""
    is_now = option["is_now"]
    found = option["saved_from_reference" if is_now else "saved_a_month"]
    usd, low, high = (Decimal(found[name]) for name in ("usd", "low_usd", "high_usd"))
    against = "all of it on the reference" if is_now else "this period's mean"
    if usd < 0:
        usd, low, high = -usd, -high, -low
        told = f"costs {money(usd)} a month more than {against}{_ends(low, high)}"
    else:
        told = f"saves {money(usd)} a month{_ends(low, high)} against {against}"
    sure = "" if option["is_sure"] else "; its quality may lie below what is needed"
    return f"{'as it is done now, ' if is_now else ''}{told}, at today's volume{sure}"


def _ends(low: Decimal, high: Decimal) -> str:
    return "" if low == high else f" ({between(money(low), money(high))})"


def _show_step(step: Mapping[str, Any]) -> None:
    out.print(f"[bold]{step['opening']}:[/] ", end="")
    out.print(step["why"], markup=False, soft_wrap=True)
    if step["command"]:
        _say(again(step["command"].removeprefix("rightsize ")))


def _say(text: str) -> None:
    out.print(f"  {text}", markup=False, soft_wrap=True)
