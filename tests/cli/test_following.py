"""A person who waits for a batch knows its id, how far it is, why it stands still, and why rows of it failed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import orjson
import pytest

from orchestrator.local import processes, state
from tests.cli.place import Place, interrupt, said
from tests.stack import chat, row, until

LONG = "[[sleep:600]]"


def has_socket(pid: int) -> bool:
    """Whether a process is connected to something."""
    return any("socket:" in target(link) for link in Path(f"/proc/{pid}/fd").iterdir())


def target(link: Path) -> str:
    """What a descriptor leads to; nothing once it is closed again."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def test_ctrl_c_while_waiting_says_what_becomes_of_the_batch_and_how_to_follow_it(place: Place) -> None:
    place.rows("rows.jsonl", LONG)
    process = place.start("submit", "rows.jsonl", "--wait")
    batch = re.findall("batch_[0-9a-f]{32}", said(process, "Following"))[0]
    said(process, "in_progress")
    code, _, told = interrupt(process)
    assert code == 130
    last = told.splitlines()[-1]
    assert "The batch goes on without this command." in last
    commands = re.findall(r"rightsize (\w+) (batch_\w+)", last)
    assert commands == [("status", batch), ("results", batch), ("cancel", batch)]
    assert "in_progress" in place.run("status", batch).stdout
    place.run("cancel", batch)


@pytest.mark.slow
def test_ctrl_c_where_the_instance_ends_with_the_command_says_so_with_the_flags_that_lead_back(empty: Place) -> None:
    empty.rows("rows.jsonl", LONG)
    process = empty.start("submit", "rows.jsonl", "--wait", "--data-dir", str(empty.data_dir))
    said(process, "Following")
    code, _, told = interrupt(process)
    assert code == 130
    assert "The instance ends with this command, unless others use it" in told
    commands = re.findall(r"rightsize (?:status|results|cancel) batch_\w+ --data-dir (\S+)", told.splitlines()[-1])
    assert commands == [str(empty.data_dir)] * 3


def test_ctrl_c_before_there_is_a_batch_says_where_to_look(place: Place) -> None:
    process = place.start("submit", "-", "--wait")
    assert process.stdin is not None
    process.stdin.write('{"text": "One"}\n')
    process.stdin.flush()
    until(lambda: has_socket(process.pid), 30, "it sends")
    code, _, told = interrupt(process)
    assert code == 130
    assert (
        told == "Interrupted before the batch was there. Should it have come to be, this shows it: rightsize status\n"
    )


def test_progress_without_a_terminal_is_told_every_couple_of_seconds(place: Place) -> None:
    place.rows("rows.jsonl", "One", "Two", "[[sleep:7]]")
    told = place.run("submit", "rows.jsonl", "--wait").stderr
    assert told.count("in_progress: 2 of 3 done") >= 2


def test_the_commonest_reasons_are_told_with_their_counts_and_the_command_that_shows_all(place: Place) -> None:
    path = place.rows("rows.jsonl", "One", "[[fail:400]]", "[[fail:400]]")
    with path.open("a") as file:
        file.write("{broken\n" * 3 + '{"id": "x"}\n[]\n')
    done = place.run("submit", "rows.jsonl", "--wait")
    assert "1 of 8 done, 7 failed" in done.stdout
    told = done.stdout.partition("Why rows failed")[2].splitlines()[1:]
    assert told[0].startswith("  5 x malformed_row, e.g. rows.jsonl#4: ")
    assert told[1].strip() == "2 x bad_request, e.g. row-1: The simulated server refused the request."
    assert "5 of these rows could not be read" in done.stdout
    assert re.search(r"All of them: rightsize results batch_\w+", done.stderr)
    place.run("submit", "rows.jsonl", "--wait", "--strict", code=3)


def test_rows_that_no_model_can_serve_are_not_called_unreadable(place: Place) -> None:
    path = place.folder / "rows.jsonl"
    strange = chat("x", model="no-such-model")
    bodies = [chat("x", rightsize={"max_latency_s": 0.001}), strange, strange]
    path.write_bytes(b"".join(orjson.dumps(row(f"row-{n}", body)) + b"\n" for n, body in enumerate(bodies)))
    shown = place.run("submit", "rows.jsonl", "--wait").stdout
    assert "2 x model_not_found, e.g. row-1: " in shown
    assert "1 x tier_unavailable, row-0: " in shown
    assert "3 of these rows could not be routed: " in shown
    assert "could not be read" not in shown


@pytest.mark.slow
def test_a_batch_that_does_not_move_shows_once_what_the_service_lacks(place: Place) -> None:
    place.rows("rows.jsonl", "[[sleep:14]]")
    instance = state.read(place.data_dir)
    assert instance is not None
    valkey = instance.part("valkey")
    assert valkey is not None
    process = place.start("submit", "rows.jsonl", "--wait")
    said(process, "in_progress")
    processes.send(valkey.pid, signal.SIGSTOP)
    try:
        assert "redis: Redis does not answer" in said(process, "Nothing moves.")
    finally:
        processes.send(valkey.pid, signal.SIGCONT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert told.count("Redis does not answer") == 0
