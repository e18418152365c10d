"""`rightsize estimate`: what work would cost, use and take, before any of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

from orchestrator.cli.connect import connected
from orchestrator.cli.display import money, note, out, print_json, table
from orchestrator.cli.documents import (
    check_is_documents,
    estimate_documents,
    is_defined,
    parameters_of,
)
from orchestrator.cli.ending import if_interrupted
from orchestrator.cli.naming import wanted_of
from orchestrator.cli.options import (
    ENDPOINT,
    AllowHosts,
    ApiKey,
    Cascade,
    Config,
    DataDir,
    Deadline,
    EndpointOption,
    Escalate,
    Given,
    IdColumn,
    Instructions,
    Labels,
    MaxCost,
    MaxTier,
    MinTier,
    Password,
    PathColumn,
    Questions,
    Refresh,
    SchemaFile,
    StakesHint,
    TaskHint,
    TextColumn,
    TierChoice,
    TierHint,
    Url,
    WorkPlace,
    bounds_of,
    json_flag,
)
from orchestrator.cli.submitting import Work
from orchestrator.client import Estimate
from orchestrator.client.documents import DocumentWork
from orchestrator.hints import window_seconds

BASIS: Final = {
    "task_on_model": "learnt from finished jobs of this kind on this model",
    "task_on_other_models": "learnt from finished jobs of this kind on other models",
    "model_over_all_tasks": "learnt from other finished jobs of this model",
    "no_history": "nothing is learnt yet: these are the limits of the requests",
}
"""What a forecast stands on, in words."""
COLUMNS: Final = ("rows", "tokens in", "tokens out", "cost", "80% between", "at most", "time")


def estimate(
    path: WorkPlace,
    task: TaskHint = None,
    tier: TierHint = TierChoice.AUTO,
    stakes: StakesHint = None,
    cascade: Cascade = None,
    min_tier: MinTier = None,
    max_tier: MaxTier = None,
    escalate: Escalate = False,
    instructions: Instructions = None,
    endpoint: EndpointOption = ENDPOINT,
    max_cost_usd: MaxCost = None,
    labels: Labels = None,
    schema_file: SchemaFile = None,
    question: Questions = None,
    given: Given = None,
    text_column: TextColumn = None,
    path_column: PathColumn = None,
    id_column: IdColumn = None,
    allow_host: AllowHosts = None,
    refresh: Refresh = False,
    password: Password = None,
    deadline: Deadline = "24h",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[
        bool, json_flag("`rows`, `invalid_rows`, `basis`, `total`, `tiers`, `alternatives`, each with `cost_usd`, `seconds`")
    ] = False,
) -> None:  # fmt: skip
    """Tell what the same work would cost, use and take if it were submitted, by tier, and on every other tier. Runs nothing.

    Four times in five the true figure lies in the interval beside the expected one. It is learnt from your finished jobs; until
    there are some it goes by the limits of the requests, and is wide. A file may have 100,000 rows.

    Examples:
      rightsize estimate tickets.csv --task triage
      rightsize estimate invoices/ --task extract --schema invoice.schema.json
      rightsize estimate scans/ --instructions "Give the total." --json | jq .total.cost_usd
    """
    wanted = wanted_of(path, text_column, path_column, id_column, allow_host)
    bounds = bounds_of(cascade, min_tier, max_tier, escalate=escalate)
    work = Work.of(Path(path), task, tier, stakes, instructions, endpoint, max_cost_usd, bounds)
    documents = DocumentWork(
        wanted, task or "", parameters_of(labels, schema_file, question, given), work.own_hints, refresh, password
    )
    with connected(url, api_key, data_dir, config, workers=False) as client:
        if_interrupted("Interrupted. Nothing was run.")
        if is_defined(client, task, wanted):
            found = estimate_documents(client, documents, quiet=as_json)
        else:
            check_is_documents(documents)
            found = client.estimate(work.lines(), endpoint=endpoint, rightsize=work.hints)
    if as_json:
        print_json(found)
        return
    _show(found)
    _warn(found, max_cost_usd, deadline)


def _show(found: Estimate) -> None:
    shown = table("As the rows would be routed", "tier", *COLUMNS, right=COLUMNS)
    for tier, figures in sorted(found["tiers"].items()):
        shown.add_row(tier, *_cells(figures))
    shown.add_section()
    shown.add_row("all", *_cells(found["total"]))
    out.print(shown)
    if found["alternatives"]:
        others = table("\nAll that a tier could serve, on that tier", "tier", *COLUMNS, right=COLUMNS)
        for tier, figures in sorted(found["alternatives"].items()):
            others.add_row(tier, *_cells(figures))
        out.print(others)
    for one in found["basis"]:
        task = f", task {one['task']}" if one["task"] else ""
        note(f"{one['tier']} on {one['model']}{task}: {_basis(one)}")
    if found["invalid_rows"]:
        note(f"{found['invalid_rows']:,} of {found['rows']:,} rows cannot be run, and are not counted.")


def _basis(one: Mapping[str, Any]) -> str:
    words = BASIS.get(one["basis"], str(one["basis"]))
    return f"{words}, {one['seen_jobs']:,} of them" if one["seen_jobs"] else words


def _cells(figures: Mapping[str, Any]) -> list[str]:
    cost = figures["cost_usd"]
    return [
        f"{figures['jobs']:,}", f"{figures['input_tokens']['expected']:,}", f"{figures['output_tokens']['expected']:,}",
        _about(cost["expected"]), f"{_about(cost['low'])} - {_about(cost['high'])}", _about(figures["at_most_usd"]),
        _span(figures["seconds"]["expected"]),
    ]  # fmt: skip


def _about(amount: str) -> str:
    """A sum that is an estimate: three digits say all that it knows."""
    value = Decimal(amount)
    return money(Decimal(f"{value:.3g}")) if value else money(value)


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def _warn(found: Estimate, max_cost_usd: str | None, deadline: str) -> None:
    total = found["total"]
    if max_cost_usd is not None and Decimal(total["cost_usd"]["high"]) > Decimal(max_cost_usd):
        note(f"It may cost more than {money(max_cost_usd)}: a batch with that cap could pause before its end.")
    if total["seconds"]["high"] > window_seconds(deadline):
        note(f"It may take longer than {deadline}: rows that are not done by then expire.")
