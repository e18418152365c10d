"""Commands about money: cost, prices."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, cast

import typer

from orchestrator.cli.completing import batch_ids
from orchestrator.cli.connect import connected
from orchestrator.cli.display import money, note, out, print_json, table
from orchestrator.cli.machines import show_machines
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, checked_day, json_flag
from orchestrator.client import Usage
from orchestrator.errors import InvalidRequest

KEYS: Final = ("tenant", "project", "key", "task", "tier", "model", "day", "batch")
MOST_KEYS: Final = 4
SUMS: Final = (
    "jobs", "attempts", "failed_attempts", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "charge_usd",
    "cost_usd", "house_usd", "machine_usd", "overrun_usd", "rejected_usd",
)  # fmt: skip


def _checked_keys(value: str) -> str:
    given = list(dict.fromkeys(one.strip() for one in value.split(",") if one.strip()))
    if not 0 < len(given) <= MOST_KEYS or not set(given) <= set(KEYS):
        raise typer.BadParameter(f"{value!r}: give 1 to {MOST_KEYS} of {', '.join(KEYS)}, separated by commas.")
    return ",".join(given)


def _day(flag: str, words: str) -> Any:
    return typer.Option(flag, metavar="DATE", help=words, callback=checked_day)


def cost(
    by: Annotated[
        str,
        typer.Option("--by", metavar="KEYS", callback=_checked_keys, help=f"What to sum by: {', '.join(KEYS)}; up to four, separated by commas."),
    ] = "tier",
    batch: Annotated[str | None, typer.Option("--batch", help="Only this batch.", autocompletion=batch_ids)] = None,
    since: Annotated[str | None, _day("--since", "From this day on (UTC), such as 2026-11-01.")] = None,
    until: Annotated[str | None, _day("--until", "Before this day (UTC).")] = None,
    machines: Annotated[
        bool, typer.Option("--machines", help="What machines priced by the hour did and cost, by model, instead.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets: a column for each key and sum.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool,
        json_flag("`data` (a row for each `key`) and `total`, sums as decimal texts; with --machines a list of models"),
    ] = False,
) -> None:  # fmt: skip
    """Show what was used, what was charged and what it cost, exact to the last digit of the ledger.

    Read and written are tokens; charged is what callers pay, cost what the work took, and `borne by us` the part of it that
    whoever runs the service pays: failed and lost attempts, and audits. Where a model's answers were not accepted and another took
    over, `not accepted` is the part of the charge that they have.

    Examples:
      rightsize cost --by tier,day --since 2026-11-01
      rightsize cost --by project,key --since 2026-11-01 --until 2026-12-01 --csv > november.csv
      rightsize cost --batch batch_0199 --by model
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv both want standard output: give one.")
    if machines:
        _check_alone(batch, since, until, as_csv)
        with connected(url, api_key, data_dir, config, workers=False) as client:
            used = client.machines()
        print_json(used) if as_json else show_machines(used)
        return
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.usage(by, since=since, until=until, batch=batch)
    rows = [_named(row, found["by"]) for row in cast("Sequence[Mapping[str, Any]]", found["data"])]
    if as_json:
        print_json(
            {
                "object": "cost",
                "by": by,
                "batch": batch,
                "since": since,
                "until": until,
                "data": rows,
                "total": found["total"],
            }
        )
    elif as_csv:
        _print_csv(rows, found["by"])
    else:
        _show(rows, found)


def _check_alone(*others: object) -> None:
    """Refuse options that say nothing of machines."""
    if any(others):
        raise InvalidRequest(
            "A machine serves many batches at once: give --machines with --json at most, and nothing else."
        )


def _named(row: Mapping[str, Any], by: Sequence[str]) -> dict[str, Any]:
    """A row with its `key` as one text; the API key that it is summed by is its `api_key`."""
    keys = {_column(one): row[one] for one in by}
    sums = {name: row[name] for name in SUMS}
    return {"key": ",".join("" if value is None else str(value) for value in keys.values()), **keys, **sums}


def _column(key: str) -> str:
    return "api_key" if key == "key" else key


def _print_csv(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, [*map(_column, by), *SUMS], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _show(rows: Sequence[Mapping[str, Any]], found: Usage) -> None:
    sums = ["jobs", "read", "written", "charged", "cost", "borne by us"]
    if Decimal(found["total"]["rejected_usd"]):
        sums.append("not accepted")
    keys = [_column(one) for one in found["by"]]
    shown = table("", *keys, *sums, right=sums, whole=(*sums[:-1], "day", "tier"))
    for row in rows:
        shown.add_row(*("-" if row[key] is None else str(row[key]) for key in keys), *_cells(row)[: len(sums)])
    shown.add_section()
    shown.add_row("all", *[""] * (len(keys) - 1), *_cells(found["total"])[: len(sums)])
    out.print(shown)


def _cells(row: Mapping[str, Any]) -> list[str]:
    counts = [f"{row[name]:,}" for name in ("jobs", "input_tokens", "output_tokens")]
    return [*counts, *(money(row[name]) for name in ("charge_usd", "cost_usd", "house_usd", "rejected_usd"))]


def prices(
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("a list with `model`, `tier`, `from`, `in_force`, `prices` (unit: US dollars)")] = False,
) -> None:  # fmt: skip
    """Show every model's prices with the day from which they hold. A job keeps the prices of the day on which it was handed in."""
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.prices()
    if as_json:
        print_json(found)
        return
    rows = table("", "model", "tier", "from", "", "prices")
    for one in found:
        told = ", ".join(f"{money(amount)} {unit}" for unit, amount in one["prices"].items())
        rows.add_row(one["model"], one["tier"], one["from"], "in force" if one["in_force"] else "", told or "free")
    out.print(rows)
    if not found:
        note("There are no models. Add one: rightsize models add")
