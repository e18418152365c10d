"""`rightsize router`: learns from outcomes which models do a prompt well, sets thresholds, and measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.again import again
from orchestrator.cli.command import Command
from orchestrator.cli.connect import server_command, settings_of
from orchestrator.cli.display import note, out, print_json, table
from orchestrator.cli.options import Config, DataDir, EncoderChoice, json_flag, place

app = typer.Typer(
    no_args_is_help=True, help="The learned router: which model does a prompt well, and is worth its price."
)


def cost_of(value: str) -> tuple[str, float]:
    """A model and what a job costs on it, from `MODEL=USD`."""
    model, mark, amount = value.rpartition("=")
    try:
        usd = float(amount)
    except ValueError:
        usd = math.nan
    if not mark or not model or not (math.isfinite(usd) and usd >= 0):
        raise typer.BadParameter(
            f"{value!r}: give a model and the US dollars of a job on it, such as small-model=0.001."
        )
    return model, usd


Outcomes = Annotated[
    Path,
    typer.Option(
        "--outcomes",
        metavar="FILE.csv",
        parser=place,
        help="CSV with `prompt` and a column for each model: 1 good, 0 bad, or between.",
    ),
]
OtherOutcomes = Annotated[
    Path | None,
    typer.Option(
        "--outcomes", metavar="FILE.csv", parser=place, help="Other rows than those that were held out in training."
    ),
]
Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="A column that is no model; may be given again.")
]
CostsOf = Annotated[
    list[str] | None,
    typer.Option(
        "--cost", metavar="MODEL=USD", help="What a job costs on a model; once for each. Kept by train for later."
    ),
]
RECORD_SHAPE = "the training record with `version`, `models`, `n`, `fitted`, `held_out`, `figures`, `not_in_fleet`"


@app.command("train", cls=Command)
def train(
    outcomes: Outcomes,
    ignore: Ignore = None,
    cost: CostsOf = None,
    encoder: Annotated[
        EncoderChoice,
        typer.Option(
            "--encoder", help="Sentence vectors too, where the encoder is here (auto): slower, and seldom better."
        ),
    ] = EncoderChoice.NONE,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the rows that are held out.")] = 0,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(RECORD_SHAPE)] = False,
) -> None:
    """Train the router on what models made of prompts.

    A fifth of the prompts is held out, to set thresholds on and to measure.

    Example:
      rightsize router train --outcomes outcomes.csv --cost small=0.001 --cost large=0.05
    """
    given = dict(map(cost_of, cost or []))
    record = server_command("router_train")(
        settings_of(data_dir, config),
        outcomes,
        _tell,
        ignore=ignore or [],
        costs=given,
        encoder=encoder.value,
        seed=seed,
    )
    if as_json:
        print_json(record)
        return
    out.print(f"Router {record['version']}: {record['fitted']:,} rows fitted, {record['held_out']:,} held out")
    _show_models(record)
    _show_figures(record["figures"])
    _warn_of_strangers(record)
    note(f"Set its threshold: {again('router calibrate --quality Q')}   or: {again('router calibrate --budget USD')}")


@app.command("calibrate", cls=Command)
def calibrate(
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="USD", help="The most that a job may cost on the mean.")
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option("--quality", metavar="Q", help="The least share of jobs that are to be done well, such as 0.8."),
    ] = None,
    delta: Annotated[float, typer.Option("--delta", help="The chance that the statement does not hold.")] = 0.05,
    cost: CostsOf = None,
    outcomes: OtherOutcomes = None,
    ignore: Ignore = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "`issued`, `threshold`, `quality`, `quality_bound`, `cost_usd`, `cost_bound_usd`, `shares`, `not_in_fleet`, `reason`"
        ),
    ] = False,
) -> None:
    """Set the router's threshold from a budget or a quality, with a bound that holds for the rows there are.

    Leaves with 1 where nothing is issued, and says what would do.

    Example:
      rightsize router calibrate --quality 0.8 --delta 0.05
    """
    if (budget is None) == (quality is None):
        raise typer.BadParameter("give either --budget USD or --quality Q.")
    given = dict(map(cost_of, cost or []))
    rule = server_command("router_calibrate")(
        settings_of(data_dir, config),
        budget_usd=budget,
        quality=quality,
        delta=delta,
        costs=given,
        outcomes_file=outcomes,
        ignore=ignore or [],
    )
    if as_json:
        print_json(rule)
    else:
        out.print(f"[bold]{'Set' if rule['issued'] else 'Nothing is issued'}[/]: {rule['reason']}")
        _show_rule(rule)
        _warn_of_strangers(rule)
    if not rule["issued"]:
        raise typer.Exit(1)


@app.command("evaluate", cls=Command)
def evaluate(
    outcomes: OtherOutcomes = None,
    ignore: Ignore = None,
    cost: CostsOf = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag(
            "`n`, `apgr`, `cpt`, `curve`, `random_mixing`, `best_single`, each with intervals where it is estimated"
        ),
    ] = False,
) -> None:
    """Measure the router on rows that it was not fitted on: APGR, CPT and the cost-quality curve.

    Example:
      rightsize router evaluate --outcomes other.csv
    """
    given = dict(map(cost_of, cost or []))
    found = server_command("router_evaluate")(
        settings_of(data_dir, config), costs=given, outcomes_file=outcomes, ignore=ignore or []
    )
    if as_json:
        print_json(found)
        return
    left_out = found["rows"]["seen"] + found["rows"]["incomplete"]
    out.print(
        f"{found['n']:,} rows" + (f" ({left_out:,} left out: fitted before, or not complete)" if left_out else "")
    )
    _show_figures(found)
    _show_curve(found)


@app.command("show", cls=Command)
def show(
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag(f"{RECORD_SHAPE}, and `rule`")] = False,
) -> None:
    """Show the router in use and the rule by which it chooses."""
    found = server_command("router_show")(settings_of(data_dir, config))
    if as_json:
        print_json(found)
        return
    out.print(f"Router {found['version']}, trained {found['trained_at']} on {found['fitted']:,} rows")
    _show_models(found)
    _show_figures(found["figures"])
    if found["rule"] is None:
        note(f"It has no threshold yet: {again('router calibrate --quality Q')}")
    else:
        out.print(f"Rule: {found['rule']['reason']}")
        _show_rule(found["rule"])
    _warn_of_strangers(found)


def _tell(step: str, share: float) -> None:
    note(f"{share:4.0%}  {step}")


def _warn_of_strangers(found: Mapping[str, Any]) -> None:
    if strangers := found["not_in_fleet"]:
        note(
            f"Warning: {', '.join(strangers)} {'is no model' if len(strangers) == 1 else 'are no models'} of the fleet, so nothing goes there by this "
            "router. Name the columns of the outcomes as rightsize.toml names the models, and train it again."
        )


def _show_models(record: Mapping[str, Any]) -> None:
    rows = table("", "model", "done well", "cost of a job", right=("done well", "cost of a job"))
    for model in record["models"]:
        usd = (record["costs_usd"] or {}).get(model)
        rows.add_row(model, f"{record['quality'][model]:.1%}", "" if usd is None else f"${usd:.6g}")
    out.print(rows)


def _show_figures(figures: Mapping[str, Any]) -> None:
    if figures["apgr"] is None:
        note(
            "The dearest model does no more of these rows well than the cheapest: there is no gap to recover, so APGR is not told."
        )
        return
    out.print(f"  APGR {_between(figures['apgr'])}; random mixing 0.5")
    for share, found in figures["cpt"].items():
        out.print(f"  CPT({share}) {_between(found)}")


def _show_curve(found: Mapping[str, Any]) -> None:
    columns = ("share", "cost of a job", "router", "95%", "random mixing", "best single")
    rows = table("", *columns, right=columns)
    for point, mixed in zip(found["curve"][::2], found["random_mixing"][::2], strict=True):
        single = _single(found["best_single"], point["cost_usd"])
        quality = point["quality"]
        rows.add_row(
            f"{point['share']:.0%}", "" if found["costs_usd"] is None else f"${point['cost_usd']:.6g}", f"{quality['value']:.1%}",
            f"{quality['low']:.1%} to {quality['high']:.1%}", f"{mixed['quality']:.1%}", f"{single:.1%}",
        )  # fmt: skip
    out.print(rows)


def _single(stair: Sequence[Mapping[str, Any]], cost_usd: float) -> float:
    """The quality of the best single model that costs no more."""
    return max(float(one["quality"]) for one in stair if one["cost_usd"] <= cost_usd * (1 + 1e-9))


def _show_rule(rule: Mapping[str, Any]) -> None:
    shares = ", ".join(f"{share:.1%} {model}" for model, share in rule["shares"].items())
    out.print(
        f"  jobs done well {rule['quality']:.1%}, at least {rule['quality_bound']:.1%} (delta {rule['delta']:g}, {rule['n']:,} rows)"
    )
    if rule["costs_usd"] is not None:
        out.print(f"  a job costs ${rule['cost_usd']:.6g}, at most ${rule['cost_bound_usd']:.6g}")
    out.print(f"  {shares}")


def _between(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
