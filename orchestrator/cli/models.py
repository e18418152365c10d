"""`rightsize models`: lists the models of the fleet; its own commands add models and check them."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.adapters import with_base
from orchestrator.cli.adding import add
from orchestrator.cli.command import Command, Group
from orchestrator.cli.connect import connected
from orchestrator.cli.display import money, out, print_json, table
from orchestrator.cli.options import ApiKey, Config, DataDir, Url, json_flag

app = typer.Typer(cls=Group, invoke_without_command=True)
app.command(cls=Command)(with_base(add))


@app.callback()
def models(
    context: typer.Context,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Annotated[bool, json_flag("a list of models, each with `id` and `rightsize`")] = False,
) -> None:
    """List the models of the fleet with tier, engine, slots and price; `rightsize doctor` shows their live workers."""
    if context.invoked_subcommand is not None:
        _refuse_flags_before(context)
        return
    with connected(url, api_key, data_dir, config, workers=False) as client:
        found = client.models()
    if as_json:
        print_json(found)
        return
    rows = table("", "model", "tier", "engine", "slots", "price", right=("slots",))
    for one in found:
        ours = one["rightsize"]
        if ours.get("kind") == "model":
            prices = ", ".join(f"{money(amount)} {unit}" for unit, amount in ours["prices"].items())
            told = ours["engine"] + (", default" if ours["default"] else "")
            rows.add_row(one["id"], ours["tier"], told, str(ours["slots"]), prices)
    out.print(rows)


def _refuse_flags_before(context: typer.Context) -> None:
    """A flag between `models` and its command would be dropped without a word."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = "--json" if name == "as_json" else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{flag} belongs behind `models {context.invoked_subcommand}`, not before it.")
