"""The page for operators and the code have the same names."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import telemetry

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("orchestrator", "workers") for path in sorted((ROOT / folder).rglob("*.py"))]
PAGE = (ROOT / "docs/telemetry.md").read_text("utf-8")


def logged(path: Path) -> Iterator[tuple[str, set[str]]]:
    """The events that a file logs with their fields, by `log` or `log_fault` of our telemetry."""
    tree = ast.parse(path.read_text("utf-8"))
    named = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "orchestrator.telemetry"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in named & {"log", "log_fault"}:
            event, *_ = node.args
            assert isinstance(event, ast.Constant), f"{path}:{node.lineno}: name the event where it is logged"
            own = {"error", "frames"} if name == "log_fault" else set()
            yield str(event.value), own | {keyword.arg or "" for keyword in node.keywords}


def table(heading: str) -> dict[str, str]:
    """The rows of the table under a heading, by their first cell."""
    part = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return {found[1]: found[0] for found in re.finditer(r"^\| `([^`]+)` \|.*$", part, re.MULTILINE)}


def test_every_event_of_the_code_is_in_the_table_and_on_the_page_with_its_fields() -> None:
    shown, found = table("Events"), set()
    for path in SOURCES:
        for event, fields in logged(path):
            found.add(event)
            assert event in shown, f"{path} logs {event}"
            assert fields <= set(re.findall(r"`(\w+)`", shown[event].split("|")[3])), f"{path} logs {event}"
    assert set(shown) == found
    assert found == set(telemetry.EVENTS)


def test_every_metric_is_on_the_page() -> None:
    assert table("Metrics").keys() == telemetry.METRICS.keys()


def test_only_telemetry_logs_so_that_no_text_of_an_exception_is_written() -> None:
    for path in SOURCES:
        if path.name != "telemetry.py":
            assert not re.search(r"\.exception\(|exc_info|logging\.getLogger", path.read_text("utf-8")), path


def test_a_fault_is_logged_by_type_and_frames_without_its_own_text(caplog: pytest.LogCaptureFixture) -> None:
    prompt = "".join(map(chr, range(97, 110)))  # its text does not stand in the frames' source lines
    try:
        raise ValueError(prompt)
    except ValueError as error:
        with caplog.at_level(logging.ERROR, telemetry.LOGGER):
            telemetry.log_fault("pass_failed", error)
    fields = caplog.records[0].__dict__["fields"]
    assert fields["error"] == "ValueError"
    assert "test_telemetry.py" in fields["frames"]
    assert prompt not in str(fields)


def test_an_event_that_is_in_no_table_is_refused() -> None:
    with pytest.raises(KeyError, match=r"telemetry\.EVENTS"):
        telemetry.log("made_up")


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_event_is_one_line_with_its_fields(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        telemetry.configure("info", style)
        telemetry.log("recovered", lost=1, unclaimed=0, expired=2)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    if style == "json":
        said = json.loads(line)
        assert (said["event"], said["level"], said["lost"], said["expired"]) == ("recovered", "info", 1, 2)
    else:
        assert line.endswith("info    recovered lost=1 unclaimed=0 expired=2")
