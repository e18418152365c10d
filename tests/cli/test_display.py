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


LONG = "batch_0199c0de0199c0de0199c0de0199c0de"


def printed(monkeypatch: pytest.MonkeyPatch, columns: str | None) -> list[str]:
    """The lines of a table of long ids where no terminal shows it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    shown = io.StringIO()
    screen = display._Screen(file=shown, highlight=False)
    rows = table("", "first", "second", "third", "fourth")
    rows.add_row(LONG, LONG, LONG, LONG)
    screen.print(rows)
    return shown.getvalue().splitlines()


def test_a_table_that_is_piped_shows_every_id_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.split() for line in printed(monkeypatch, None)[1:]] == [[LONG] * 4]


def test_a_table_that_is_piped_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, "100")
    assert len(lines) > 2
    assert max(map(len, lines)) <= 100
