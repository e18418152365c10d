"""`up` says truly what it starts, uses and leaves."""

from __future__ import annotations

import shlex

import pytest

from tests.cli.place import Place, interrupt, said, shown


def test_a_second_up_says_that_it_uses_the_first_ones_instance_and_leaves_it_running(place: Place) -> None:
    process = place.start("up", "--data-dir", str(place.data_dir))
    text = shown(process, "Ctrl-C")
    assert "is up at http://127.0.0.1:" in text
    assert "It ran already" in text
    tries = [line for line in text.splitlines() if "rightsize " in line]
    assert [line.partition("--data-dir ")[2] for line in tries] == [str(place.data_dir)] * 3
    place.run(*shlex.split(tries[1].partition("rightsize ")[2]))
    code, _, told = interrupt(process)
    assert code == 0
    assert "goes on for its other users, at http://127.0.0.1:" in told
    assert "Stopping" not in told
    place.run("status")


def test_another_port_than_the_running_ones_is_refused_with_that_port(place: Place) -> None:
    assert "runs already, on port" in place.run("up", "--port", "1", code=1).stderr


@pytest.mark.slow
def test_ctrl_c_ends_a_start_and_the_last_up_says_that_it_stops(empty: Place) -> None:
    process = empty.start("up")
    said(process, "Starting the local instance")
    code, output, told = interrupt(process)
    assert (code, output, told.splitlines()[-1]) == (130, "", "Interrupted.")
    process = empty.start("up")
    assert "It ran already" not in shown(process, "Ctrl-C")
    code, _, told = interrupt(process)
    assert code == 0
    assert told.splitlines()[-1].startswith("Stopping. Jobs that are not done stay")
