"""The command line: Typer commands over the client. Server commands are found by entry point, so that this stays light."""

from __future__ import annotations

from orchestrator.cli.ending import in_order

__all__ = ["main"]


def main() -> None:
    """Run a command. What goes wrong is one line with a remedy, never a traceback, from the first moment on."""
    in_order(_commands)


def _commands() -> None:
    from orchestrator.cli.app import app  # takes a quarter of a second, and Ctrl-C may come within it

    app(prog_name="rightsize")
