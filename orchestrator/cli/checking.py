"""`rightsize models check`: what each model answers, how quick it is, and which limits and prices follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.text import Text

from orchestrator.cli.completing import model_names
from orchestrator.cli.connect import server_command, settings_of
from orchestrator.cli.display import complain, money, note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, json_flag

BAR: Final = 40
MARKS: Final = {"sound": "green", "failed": "bold red", "not served": "dim"}
"""The style of each state."""
SHOWN_CHARS: Final = 60


def _dollars(value: str) -> str:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 < amount <= 1_000_000:
        raise typer.BadParameter(f"{value!r}: give US dollars above 0 and up to 1000000, such as 2.50.")
    return value


def check(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A model of the fleet; without it, all, one after the other.",
            autocompletion=model_names,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Put what is suggested into the rightsize.toml; its comments and order stay."),
    ] = False,
    usd_per_hour: Annotated[
        str | None,
        typer.Option(
            "--usd-per-hour",
            metavar="X",
            help="What the model's machine costs an hour: gives a rate card (default: the card's own `usd_per_hour`).",
            callback=lambda value: value if value is None else _dollars(value),
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=600.0, help="How long each level of the load is measured.")
    ] = 3.0,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`sound` and `models`, each with `checks`, `levels`, `suggested`, `rates`, `remarks`, `sound`")
    ] = False,
) -> None:
    """Load models here, ask each something of every kind that it claims, and measure it at rising concurrency.

    Nothing needs to run for it. A model is loaded beside a worker that serves it already, and both want its memory: where
    that is short, stop the worker first.

    Leaves with 1 if any check failed, and says what to do.

    Examples:
      rightsize models check
      rightsize models check my-llm --usd-per-hour 2.50 --write
    """
    settings = settings_of(data_dir, config)
    hour = None if usd_per_hour is None else Decimal(usd_per_hour)
    found = server_command("models_check")(
        settings, name, write=write, usd_per_hour=hour, seconds=seconds, on_progress=_tell
    )
    reports = []
    for report in found:
        reports.append(report)
        if not as_json:
            _show(report, write=write)
    sound = all(report["sound"] for report in reports)
    if as_json:
        print_json({"sound": sound, "models": reports})
    if not sound:
        _leave_unsound(reports)


def _leave_unsound(reports: Sequence[dict[str, Any]]) -> NoReturn:
    complain(f"Not sound: {', '.join(report['model'] for report in reports if not report['sound'])}.")
    for report in reports:
        _say_remedies(report)
    raise typer.Exit(1)


def _tell(model: str, step: str) -> None:
    note(f"{model}: {step}")


def _show(report: Mapping[str, Any], *, write: bool) -> None:
    revision = f", revision {report['revision']}" if report["revision"] else ""
    loaded = f"loaded in {report['load_s']:.1f} s" if report["load_s"] else "not loaded"
    out.print(
        f"\n[bold]{report['model']}[/]  {report['tier']}, {report['engine']}{revision}, {loaded}",
        soft_wrap=True,
    )
    _show_checks(report["checks"])
    if report["levels"]:
        _show_curve(report["levels"], report["unit"])
    speeds = {"reading": report["prefill_tps"], "writing": report["decode_tps"]}
    told = [f"{what} alone {speed:,.0f} tokens/s" for what, speed in speeds.items() if speed]
    if told:
        out.print("  " + ", ".join(told))
    if report["suggested"]:
        _show_suggestions(report, write=write)
    for remark in report["remarks"]:
        out.print(f"  - {remark}", markup=False, soft_wrap=True)


def _show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    rows = table(
        "", "kind", "", "seconds", "in", "out", "thought", "what came back", right=("seconds", "in", "out", "thought")
    )
    for one in checks:
        said = one["problem"] or one["said"]
        rows.add_row(
            one["kind"],
            Text(one["state"], MARKS[one["state"]]),
            f"{one['seconds']:.2f}",
            *(str(one[name] or "") for name in ("input_tokens", "output_tokens", "reasoning_tokens")),
            _plain(said),
        )
    out.print(rows)


def _plain(text: str) -> str:
    """A model's words, short."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return printable if len(printable) <= SHOWN_CHARS else f"{printable[: SHOWN_CHARS - 1]}…"


def _show_curve(levels: Sequence[Mapping[str, Any]], unit: str) -> None:
    """Throughput over concurrency as bars: where they stop to grow, more requests at once only wait."""
    from rich.progress_bar import ProgressBar

    key = {"output tokens": "output_tps", "input tokens": "input_tps", "answers": "answers_ps"}[unit]
    most = max(level[key] for level in levels) or 1.0
    rows = table("", "at once", "", f"{unit}/s", "median s", "", right=("at once", f"{unit}/s", "median s"))
    for level in levels:
        rows.add_row(
            str(level["concurrency"]),
            ProgressBar(total=most, completed=level[key], width=BAR, complete_style="cyan", finished_style="bold cyan"),
            f"{level[key]:,.1f}",
            f"{level['latency_s']:.3g}",
            f"{len(level['faults'])} failed" if level["faults"] else "",
        )
    out.print(rows)


def _show_suggestions(report: Mapping[str, Any], *, write: bool) -> None:
    rows = table("", "setting", "now", "suggested", right=("now", "suggested"))
    for name, value in report["suggested"].items():
        rows.add_row(name, f"{report['now'][name]:g}", f"{value:g}")
    out.print(rows)
    if report["rates"]:
        units = {
            "input": "per million input tokens",
            "output": "per million output tokens",
            "request": "a request",
            "hour": "an hour",
        }
        told = ", ".join(f"{money(amount)} {units[name]}" for name, amount in report["rates"].items())
        out.print(f"  rate card: {told}", soft_wrap=True)
    if report["written"]:
        out.print("  [green]written[/] to the rightsize.toml")
    elif write:
        out.print("  not written")


def _say_remedies(report: Mapping[str, Any]) -> None:
    """Each thing that is wrong once, with the kinds of request that it spoils and the remedy."""
    kinds: dict[str, list[str]] = {}
    for one in report["checks"]:
        if one["state"] == "failed":
            kinds.setdefault(f"{one['problem'].rstrip('.')}. {one['remedy']}", []).append(one["kind"])
    for told, spoilt in kinds.items():
        note(f"{report['model']}, {', '.join(spoilt)}: {told}")
    if not report["checks"]:
        note(f"{report['model']}: its engine claims no kind of request that is known here.")
