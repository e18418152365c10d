"""The Typer application: every command by name, and how errors end."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from orchestrator import __version__
from orchestrator.cli import learning, reading, serving, submitting
from orchestrator.cli.demo import demo
from orchestrator.cli.display import complain
from orchestrator.errors import Busy, RightsizeError

REFUSED: Final = 1
"""Exit code of a command that was refused: something must be changed first."""
BUSY: Final = 5
"""Exit code of a command that may succeed if it is tried again: a server is away or full."""

app = typer.Typer(
    name="rightsize",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Runs language-model jobs on the smallest model that does them well.",
    epilog="Exit codes: 0 done, 1 refused (the message says what to change), 2 wrong usage, 3 rows failed (--strict), "
    "4 the batch failed, expired or was cancelled, 5 a server is away or busy (try again), 130 interrupted.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys, name="keys")

for _command in (
    demo, serving.up, submitting.submit, reading.status, reading.results, submitting.cancel, reading.explain, reading.cost,
    reading.models, learning.train, learning.evaluate, serving.doctor, serving.migrate, serving.orchestrator, serving.api,
    serving.worker,
):  # fmt: skip
    app.command()(_command)
keys.command("create")(serving.create_key)


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


def main() -> None:
    """Run a command. What it refuses is one line with a remedy, never a traceback."""
    try:
        app()
    except Busy as error:
        complain(error.message)
        sys.exit(BUSY)
    except RightsizeError as error:
        complain(error.message)
        sys.exit(REFUSED)
    except BrokenPipeError:
        # The reader of our output has left, as `head` does.
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        complain("Interrupted. What was submitted goes on; `rightsize status` shows it.")
        sys.exit(130)
