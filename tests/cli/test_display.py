"""What people see is what there is: nothing that comes from elsewhere is taken for markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.cli import display
from orchestrator.cli.display import show_findings, table


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed, on a wide terminal with colours."""
    shown = io.StringIO()
    console = Console(file=shown, width=200, force_terminal=True, color_system="standard", highlight=False)
    monkeypatch.setattr(display, "out", console)
    return shown


def test_a_finding_that_looks_like_markup_is_shown_as_it_is(screen: io.StringIO) -> None:
    told = ["a [bold]file[/] is gone", "closed [/red] without being open", r"C:\[x]", ":warning: as text"]
    show_findings([{"name": "[red]files", "holds": one == told[0], "detail": one} for one in told])
    shown = screen.getvalue()
    assert all(one in shown for one in told)
    assert shown.count("[red]files") == len(told)
    assert shown.count("\x1b[32mok") == 1
    assert shown.count("\x1b[1;31mno") == 3


def test_every_table_shows_its_texts_as_they_are_and_styles_only_what_says_so(screen: io.StringIO) -> None:
    rows = table("", "name", "state")
    rows.add_row("[link=https://example.org]here[/link]", Text("fine", "green"))
    display.out.print(rows)
    assert "[link=https://example.org]here[/link]" in screen.getvalue()
    assert "\x1b[32mfine" in screen.getvalue()
