"""However a command ends: one line, an exit code, and no traceback."""

from __future__ import annotations

import pytest

from tests.cli.place import Place, interrupt, loaded


@pytest.mark.parametrize("words", [["submit", "-"], ["results", "batch_1"], ["up"], ["--help"]])
def test_ctrl_c_in_the_midst_of_the_imports_leaves_quietly(words: list[str], empty: Place) -> None:
    process = empty.start(*words)
    loaded(process, "pydantic_core")
    assert interrupt(process) == (130, "", "Interrupted.\n")


def test_ctrl_c_while_numpy_is_imported_leaves_quietly(place: Place) -> None:
    labels = place.folder / "labels.csv"
    labels.write_text("text,label\n" + "".join(f"word {n},label-{n % 2}\n" for n in range(40)))
    process = place.start("train", "some-task", "--labels", str(labels))
    loaded(process, "_multiarray_umath")
    code, _, told = interrupt(process)
    assert (code, told.splitlines()[-1]) == (130, "Interrupted.")


def test_a_reader_that_has_seen_enough_ends_the_output_quietly(place: Place) -> None:
    batch = place.batch(*["A row. " * 200] * 60)
    done = place.run(shell=f"set -o pipefail; $r results {batch} | head -c 10")
    assert (len(done.stdout), done.stderr) == (10, "")
    assert place.run(shell="set -o pipefail; $r status | true").stderr == ""


@pytest.mark.parametrize("words", ["results {}", "status {}", "status", "status {} --json", "cost", "models --json"])
def test_an_output_that_cannot_be_written_is_one_line(words: str, place: Place) -> None:
    command = words.format(place.batch("One"))
    closed = place.run(shell=f"$r {command} >&-", code=1).stderr
    assert "tandard output: Bad file descriptor" in closed
    full = place.run(shell=f"ulimit -f 0; $r {command} >out", code=1).stderr
    assert "tandard output: File too large" in full
    assert len(full.splitlines()) == 1


def test_a_closed_input_is_refused_and_an_empty_one_is_a_row_that_says_so(place: Place) -> None:
    assert "Standard input is closed" in place.run(shell="$r submit - <&-", code=1).stderr
    assert "There are no rows" in place.run("submit", "-", "--wait", input="").stdout


def test_nothing_at_all_is_open(place: Place) -> None:
    place.run(shell="$r status <&- >&- 2>&-", code=1)
    place.run(shell="$r nonsense <&- >&- 2>&-", code=2)


def test_work_goes_on_where_nobody_hears_its_notes(place: Place) -> None:
    place.rows("rows.jsonl", "One")
    submit = "$r submit rows.jsonl --wait --out out.jsonl"
    place.run(shell=f"set -o pipefail; {{ {submit} 2>&1 >&3 | true; }} 3>shown")
    assert len((place.folder / "out.jsonl").read_text().splitlines()) == 1
    place.run(shell=f"{submit} 2>&-")
