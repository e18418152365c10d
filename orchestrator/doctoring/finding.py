"""What an examination finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import RightsizeError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it holds, and what there is to say or do."""

    name: str
    holds: bool
    detail: str


def tried(name: str, look: Callable[[], str]) -> Finding:
    """What a look tells, or the error that it ended with."""
    try:
        return Finding(name, True, look())
    except RightsizeError as error:
        return Finding(name, False, error.message)
