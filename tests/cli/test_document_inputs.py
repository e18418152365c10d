"""`rightsize submit` of documents wherever they are: archives, patterns, tables, standard input, URLs; samples and estimates."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.stack import ROOT

CLASSIFY = ("--task", "classify", "--labels", "card,refund,other")
SCHEMA = str(ROOT / "examples/invoice.schema.json")


@pytest.fixture
def notes(place: Place) -> Path:
    """Forty notes, each of its own."""
    folder = place.folder / "notes"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "old").mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(f"Note {number}: where is my refund? " + "word " * number, "utf-8")
    (folder / "old/a.md").write_text("An old note about a card.", "utf-8")
    return folder


def answered(place: Place, *args: str, **more: object) -> dict[str, str]:
    """The names of the documents, each with its answer."""
    lines = place.run("submit", *args, *CLASSIFY, "--wait", "--out", "-", **more).stdout.splitlines()  # type: ignore[arg-type]
    told = [json.loads(line) for line in lines]
    return {
        one["custom_id"]: one["response"]["body"]["choices"][0]["message"]["content"]
        if one["response"]
        else one["error"]["code"]
        for one in told
    }


def test_archives_patterns_and_a_document_by_itself(place: Place, notes: Path) -> None:
    with zipfile.ZipFile(place.folder / "notes.zip", "w") as archive:
        archive.write(notes / "01.txt", "in/01.txt")
        archive.writestr("in/../../evil.txt", "A card was lost.")
    assert set(answered(place, "notes.zip")) == {"notes.zip/in/01.txt", "notes.zip/in/evil.txt"}
    assert set(answered(place, "notes/**/*.md")) == {"old/a.md"}
    assert len(answered(place, "notes/0?.txt")) == 10
    assert set(answered(place, "-", input="Where is my card?")) == {"stdin"}


def test_rows_of_tables_are_documents_by_their_text_or_their_file(place: Place, notes: Path) -> None:
    (place.folder / "t.csv").write_text('no,text\nT-1,"Where, please?"\nT-2,\nT-3,My card\n', "utf-8")
    told = answered(place, "t.csv", "--text-column", "text", "--id-column", "no")
    assert set(told) == {"T-1", "T-2", "T-3"}
    assert told["T-2"] == "malformed_row"
    (place.folder / "t.jsonl").write_text('{"body": "One"}\n{"body": "Two"}\n', "utf-8")
    assert set(answered(place, "t.jsonl", "--text-column", "body")) == {"t.jsonl#1", "t.jsonl#2"}
    (notes / "list.csv").write_text("file\n01.txt\n../t.csv\n", "utf-8")
    told = answered(place, "notes/list.csv", "--path-column", "file")
    assert "not_a_file" in told.values()
    assert json.loads(told["01.txt"])["label"] in ("card", "refund", "other")


@pytest.mark.parametrize(
    "args, said",
    [
        (("https://example.com/a.pdf",), "are not fetched"),
        (("notes/*.pdf",), "nothing"),
        (("nowhere/",), "does not exist"),
        (("s3://",), "s3://BUCKET/PREFIX"),
        (("notes", "--text-column", "x"), "table"),
    ],
)
def test_what_can_never_be_read_is_refused_before_anything_begins(
    place: Place, notes: Path, args: tuple[str, ...], said: str
) -> None:
    del notes
    assert said in " ".join(place.run("submit", *args, *CLASSIFY, code=2).stderr.split())


def test_a_pattern_needs_a_task_with_a_definition(place: Place, notes: Path) -> None:
    del notes
    assert "rightsize tasks list" in place.run("submit", "notes/*.txt", "--task", "no-such-task", code=1).stderr
    assert "rightsize tasks list" in place.run("submit", "notes", "--sample", "3", code=1).stderr


def test_a_sample_shows_answers_and_what_all_would_cost_and_is_not_run_again(place: Place, notes: Path) -> None:
    del notes
    labels = ("--task", "classify", "--labels", "yes,no")
    told = place.run("submit", "notes", *labels, "--sample", "20")
    assert "A sample of 20 of 41 documents" in told.stdout
    assert "The other 21 would cost about $" in " ".join(told.stderr.split())
    again = place.run("submit", "notes", *labels, "--sample", "20")
    assert "20 answered before" in again.stderr
    whole = place.run("submit", "notes", *labels, "--wait")
    assert "41 documents: 21 read" in whole.stderr
    assert "20 answered before" in whole.stderr


def test_documents_are_estimated_without_running_any(place: Place, notes: Path) -> None:
    del notes
    labels = ("--task", "classify", "--labels", "more,less")
    found = json.loads(place.run("estimate", "notes", *labels, "--json").stdout)
    assert (found["rows"], found["total"]["jobs"], found["invalid_rows"]) == (41, 41, 0)
    assert float(found["total"]["cost_usd"]["expected"]) > 0
    place.run("submit", "notes", *labels, "--wait")
    told = place.run("estimate", "notes", *labels, "--json")
    assert json.loads(told.stdout)["total"]["jobs"] == 0
    assert "41 answered before" in place.run("estimate", "notes", *labels).stderr


def test_tiers_are_bounded_and_asked_in_turn_as_flags_say(place: Place) -> None:
    told = place.run("explain", "Where is my order?", "--cascade", "llm,rlm").stdout
    assert "by the rule cascade" in " ".join(told.split())
    assert "takes over" in told
    told = place.run("explain", "Where is my order?", "--min-tier", "rlm", "--json").stdout
    assert json.loads(told)["route"]["tier"] == "rlm"
    assert "min-tier" in place.run("explain", "x", "--min-tier", "mllm", code=2).stderr
    assert "cascade" in place.run("submit", str(place.rows("a.jsonl", "Hello")), "--cascade", "llm", code=2).stderr
    made = place.run("submit", str(place.rows("b.jsonl", "Hello")), "--cascade", "llm,rlm", "--wait", "--json").stdout
    assert json.loads(made)["request_counts"]["completed"] == 1
