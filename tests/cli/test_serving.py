"""`up` says truly what it starts, uses and leaves."""

from __future__ import annotations

import shlex

import orjson
import pytest

from orchestrator.local import state
from orchestrator.local.processes import is_same
from tests.cli.place import FLEET, Place, interrupt, said, shown


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
    told = place.run("up", "--port", "1", code=1).stderr
    assert "runs already, on port" in told
    assert "another command started it" in told
    assert "Leave --port out to use it, or wait until those commands have ended" in told


def test_doctor_without_a_fleet_judges_the_instance_by_its_own(place: Place) -> None:
    done = place.run(shell="unset RIGHTSIZE_CONFIG; $r doctor --json")
    found = {one["name"]: one["detail"] for one in orjson.loads(done.stdout)["findings"]}
    assert found["fleet"].startswith(str(FLEET))
    assert found["versions"].startswith("every live worker")


def test_a_folder_with_other_files_is_not_made_a_data_directory(empty: Place) -> None:
    empty.rows("rows.jsonl", "One")
    told = empty.run("up", "--data-dir", ".", code=1).stderr
    assert "is no data directory of ours" in told
    assert [path.name for path in empty.folder.iterdir()] == ["rows.jsonl"]


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
    found = state.read(empty.data_dir)
    assert found is not None
    assert (found.status, found.is_live()) == (state.STOPPED, False)
    assert not any(is_same(part.pid, part.started_ticks) for part in found.parts)
    assert not list((empty.data_dir / "servers").rglob("postmaster.pid"))


@pytest.mark.slow
def test_a_batch_goes_on_on_its_own_fleet_though_the_next_command_does_not_name_it(empty: Place) -> None:
    empty.rows("rows.jsonl", "One", "Two")
    batch = empty.run("submit", "rows.jsonl").stdout.strip()
    done = empty.run(shell=f"unset RIGHTSIZE_CONFIG; $r status {batch} --wait")
    assert f"It starts with {FLEET}, as the last time." in done.stderr
    assert "2 of 2 done, 0 failed" in done.stdout
