"""Results go where they are wanted, and nothing else is harmed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.place import Place, json_lines


@pytest.fixture(scope="session")
def _ended() -> dict[Path, str]:
    return {}


@pytest.fixture
def batch(place: Place, _ended: dict[Path, str]) -> str:
    """A batch of two rows that has ended, made once."""
    if place.data_dir not in _ended:
        _ended[place.data_dir] = place.batch("One", "Two")
    return _ended[place.data_dir]


def test_a_dash_is_standard_output(place: Place, batch: str) -> None:
    assert len(json_lines(place.run("results", batch, "--out", "-").stdout)) == 2
    rows = place.rows("rows.jsonl", "One", "Two", "Three")
    done = place.run("submit", "-", "--wait", "--out", "-", input=rows.read_text())
    assert {line["custom_id"] for line in json_lines(done.stdout)} == {"row-0", "row-1", "row-2"}
    assert sorted(path.name for path in place.folder.iterdir() if path.suffix != ".jsonl") == []
    told = place.run("submit", "rows.jsonl", "--wait", "--out", "-", "--json", code=2).stderr
    assert "both want standard output" in told


def test_rows_are_classified_and_scored_by_their_endpoint(place: Place) -> None:
    texts, pairs = place.folder / "texts.jsonl", place.folder / "pairs.jsonl"
    texts.write_text('{"text": "where is my card"}\n')
    pairs.write_text('{"queries": "a card", "documents": ["where is my card", "a refund"]}\n')
    for path, endpoint, key, count in ((texts, "/v1/classify", "probs", 1), (pairs, "/v1/score", "score", 2)):
        done = place.run("submit", str(path), "--endpoint", endpoint, "--wait", "--out", "-")
        (line,) = json_lines(done.stdout)
        data = line["response"]["body"]["data"]
        assert [key in row for row in data] == [True] * count
    told = place.run("submit", str(texts), "--endpoint", "/v1/images", code=2).stderr
    assert "/v1/classify" in told


def test_a_links_target_is_replaced_and_the_link_stays(place: Place, batch: str) -> None:
    target, link = place.folder / "real.jsonl", place.folder / "link.jsonl"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target.name)
    place.run("results", batch, "--out", "link.jsonl")
    assert link.is_symlink()
    assert len(json_lines(target.read_bytes())) == 2
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    leads_nowhere = place.folder / "dangling.jsonl"
    leads_nowhere.symlink_to("new.jsonl")
    place.run("results", batch, "--out", "dangling.jsonl")
    assert len(json_lines((place.folder / "new.jsonl").read_bytes())) == 2


def test_a_pipe_is_written_into_and_stays_one(place: Place, batch: str) -> None:
    pipe = place.folder / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    place.run("results", batch, "--out", "pipe")
    reader.join(30)
    assert len(json_lines(read[0])) == 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_input_is_never_the_output(place: Place) -> None:
    rows = place.rows("rows.jsonl", "One")
    before = rows.read_bytes()
    (place.folder / "also.jsonl").symlink_to("rows.jsonl")
    for out in ("rows.jsonl", "./rows.jsonl", "also.jsonl"):
        told = place.run("submit", "rows.jsonl", "--wait", "--out", out, code=2).stderr
        assert "is the input itself" in told
    assert "is the input itself" in place.run(shell="$r submit - --wait --out rows.jsonl <rows.jsonl", code=2).stderr
    assert rows.read_bytes() == before


@pytest.mark.parametrize("out, words", [(".", "is a folder"), ("none/out.jsonl", "make it first")])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(out: str, words: str, empty: Place) -> None:
    empty.rows("rows.jsonl", "One")
    assert words in empty.run("submit", "rows.jsonl", "--wait", "--out", out, code=2).stderr
    assert not empty.data_dir.exists()


def test_without_result_lines_nothing_is_written_and_it_is_said(place: Place) -> None:
    place.rows("rows.jsonl", "One")
    words = ["submit", "rows.jsonl", "--wait", "--out", "out.jsonl", "--max-cost-usd", "0"]
    done = place.run(*words, code=4)
    assert "has no result lines: out.jsonl was not written" in done.stderr
    assert not (place.folder / "out.jsonl").exists()


def test_f21_a_full_disk_leaves_no_half_file_and_tells_how_to_get_the_results(place: Place, batch: str) -> None:
    told = place.run(shell=f"ulimit -f 0; $r results {batch} --out out.jsonl", code=1).stderr
    assert "Cannot write out.jsonl: File too large" in told
    assert f"rightsize results {batch}" in told
    assert list(place.folder.glob(".rightsize*")) == []
    assert not (place.folder / "out.jsonl").exists()
