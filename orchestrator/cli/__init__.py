"""The command line: Typer commands over the client. Server commands are found by entry point, so that this stays light."""

from __future__ import annotations

from orchestrator.cli.app import main

__all__ = ["main"]
