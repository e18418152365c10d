"""The Typer application: every command by name."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from orchestrator import __version__
from orchestrator.cli import (
    administering,
    advising,
    benching,
    checking,
    costing,
    estimating,
    exporting,
    files,
    forget,
    jobs,
    judging,
    learning,
    models,
    promoting,
    reading,
    refusals,
    reporting,
    review,
    routers,
    serving,
    steering,
    submitting,
    tasks,
    webhooks,
)
from orchestrator.cli.command import Command
from orchestrator.cli.demo import demo

app = typer.Typer(
    name="rightsize",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Runs language-model jobs on the smallest model that does them well.",
    epilog="Exit codes: 0 done, 1 refused (the message says what to change), 2 wrong usage, 3 rows failed (--strict) or "
    "lines were refused (review --import), "
    "4 the batch or job failed, expired or was cancelled, 5 a server is away or busy (try again), 78 a service's configuration is wrong, "
    "130 interrupted. "
    "A batch that completed leaves with 0 also where rows of it failed: `--strict` makes that a 3.",
)
COMMANDS: Final = {
    "Work": (
        submitting.submit, estimating.estimate, reading.status, reading.results, steering.pause, steering.resume, steering.cancel,
        steering.retry, jobs.job, review.review, forget.forget,
    ),
    "Reasons and costs": (reading.explain, costing.cost, costing.prices),
    "Right-sizing": (
        advising.advise, promoting.label, judging.judge, learning.train, learning.evaluate, promoting.certify, promoting.promote,
        promoting.demote, promoting.freeze, promoting.stages, reporting.report, exporting.export,
    ),
    "Try and measure": (demo, benching.bench),
    "Servers": (
        serving.up, serving.doctor, serving.migrate, serving.orchestrator, serving.api, serving.worker, serving.intake,
        refusals.refusals,
    ),
    "Who may do what": (administering.audit,),
}  # fmt: skip
"""By the heading under which `--help` shows them."""
GROUPS: Final = {
    "Work": {"tasks": tasks.app, "files": files.app, "webhooks": webhooks.app},
    "Right-sizing": {"models": models.app, "router": routers.app},
    "Who may do what": {
        name: getattr(administering, name) for name in ("tenants", "projects", "keys", "budgets", "quotas")
    },
}
for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_heading)(_command)
for _heading, _groups in GROUPS.items():
    for _name, _group in _groups.items():
        app.add_typer(_group, name=_name, rich_help_panel=_heading)
models.app.command("check", cls=Command)(checking.check)


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
