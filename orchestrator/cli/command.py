"""A command as Typer runs it, with what all of ours have in common."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator.cli import again
from orchestrator.cli.ending import Escaped


class _Plain:
    """Remembers where it works, says plainly which flag is wrong, and leaves its interrupts to `ending`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; pydantic's words for a value that is not one of the choices are not ours."""
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run."""
        again.remember(ctx)
        try:
            return super().invoke(ctx)  # type: ignore[misc]
        except (KeyboardInterrupt, OSError) as error:
            raise Escaped from error


class Command(_Plain, TyperCommand):
    """One command."""


class Group(_Plain, TyperGroup):
    """A command that does something by itself, and has commands of its own."""
