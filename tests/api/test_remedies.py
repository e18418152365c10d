"""What a batch says of itself where it stands still: the remedy names the batch and a command that there is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command

from orchestrator import ids
from orchestrator.api.batch_view import _paused
from orchestrator.cli.app import app
from tests.docs_check import refusal

NAME = ids.uuid7()


def standing(**more: Any) -> Any:
    """A batch's row, as far as it says whether it goes on."""
    return SimpleNamespace(**{"public_id": NAME, "final": None, "paused_at": None, "held_back": None, **more})


@pytest.mark.parametrize("row", [standing(paused_at=datetime.now(UTC)), standing(held_back="budget_exhausted")])
def test_a_batch_that_stands_still_names_the_commands_that_help(row: Any) -> None:
    told = _paused(row)
    assert told is not None
    named = ids.public("batch", NAME)
    shown = re.findall(r"`rightsize ([^`]+)`", told["remedy"])
    assert any(words.startswith(f"resume {named}") for words in shown)
    for words in shown:
        assert refusal(get_command(app), words.replace(" X", " 5").split()) is None, words
    assert f"POST /v1/batches/{named}/resume" in told["remedy"]


def test_a_batch_that_goes_on_or_has_ended_has_nothing_to_be_helped_with() -> None:
    assert _paused(standing()) is None
    assert _paused(standing(final={}, paused_at=datetime.now(UTC))) is None
