"""The Typer application: every command by name."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import administering, benching, checking, learning, models, reading, refusals, serving, submitting
from orchestrator.cli.command import Command
from orchestrator.cli.demo import demo

app = typer.Typer(
    name="rightsize",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Runs language-model jobs on the smallest model that does them well.",
    epilog="Exit codes: 0 done, 1 refused (the message says what to change), 2 wrong usage, 3 rows failed (--strict), "
    "4 the batch failed, expired or was cancelled, 5 a server is away or busy (try again), 130 interrupted. "
    "A batch that completed leaves with 0 also where rows of it failed: `--strict` makes that a 3.",
)
for _name in ("tenants", "projects", "keys", "budgets", "quotas"):
    app.add_typer(getattr(administering, _name), name=_name)
app.add_typer(models.app, name="models")
models.app.command("check", cls=Command)(checking.check)

for _command in (
    demo, serving.up, submitting.submit, reading.status, reading.results, submitting.cancel, reading.explain, reading.cost,
    learning.train, learning.evaluate, benching.bench, serving.doctor, serving.migrate, serving.orchestrator, serving.api,
    serving.worker, serving.intake, refusals.refusals, administering.audit,
):  # fmt: skip
    app.command(cls=Command)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rightsize {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Runs language-model jobs on the smallest model that does them well."""
