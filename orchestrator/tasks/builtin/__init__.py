"""The tasks that work at once, each a file of this folder."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Final

from orchestrator.tasks.definition import Task, task_from

NAMES: Final = ("answer", "classify", "extract", "summarise", "transcribe")


@cache
def builtin(name: str) -> Task | None:
    """A task that comes with Rightsize, or None."""
    if name not in NAMES:
        return None
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8")
    return task_from(tomllib.loads(text), f"The built-in task {name}")
