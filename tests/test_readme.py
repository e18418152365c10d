"""The README names every command that there is, and no other; the architecture names every part of the house."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from orchestrator.cli.app import app
from tests.docs_check import ROOT


def test_the_table_of_commands_holds_every_command() -> None:
    lines = iter((ROOT / "README.md").read_text("utf-8").splitlines())
    next(line for line in lines if line.startswith("| command |"))
    named: list[str] = []
    for line in lines:
        if not line.startswith("|"):
            break
        named += re.findall(r"`([a-z]+)`", line.split("|")[1])
    assert sorted(named) == sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", ["orchestrator", "workers", "workers/engines"])
def test_the_table_of_the_house_names_every_file_and_folder(folder: str) -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## The house")[2]
    rows = [line for line in page.splitlines() if line.startswith(f"| `{folder}/")]
    words = [one for row in rows for one in re.findall(r"`([^`]+)`", row.split("|")[1])]
    named = {part for one in words for part in Path(one).parts}
    there = {one.name for one in (ROOT / folder).iterdir() if one.suffix == ".py" or (one / "__init__.py").is_file()}
    assert there - {"__init__.py"} <= named
