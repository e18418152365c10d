"""`rightsize review` as a list, as a table that people fill in, and back; `rightsize forget`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import review_table
from orchestrator.errors import InvalidRequest
from tests.cli.place import Place

TASK = """
name = "{name}"
instructions = "Extract."
output_schema_file = "bill.schema.json"
[[checks]]
field = "/total"
rule = "range"
least = "0"
most = "1000"
"""
SCHEMA = {
    "type": "object", "required": ["issuer", "total"], "additionalProperties": False,
    "properties": {"issuer": {"type": "string"}, "total": {"type": ["number", "null"]}},
}  # fmt: skip


def bills(place: Place, name: str, *texts: str) -> str:
    """A batch of bills that are all for review; its id."""
    (place.folder / "bill.schema.json").write_text(json.dumps(SCHEMA), "utf-8")
    (place.folder / "task.toml").write_text(TASK.format(name=name), "utf-8")
    place.run("tasks", "create", "task.toml")
    folder = place.folder / "bills"
    folder.mkdir(exist_ok=True)
    for text in texts:
        (folder / f"{text}.txt").write_text(f"{name} {text}", "utf-8")
    return str(json.loads(place.run("submit", "bills", "--task", name, "--wait", "--json").stdout)["id"])


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def answers(place: Place, batch: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in place.run("results", batch).stdout.splitlines()]
    return {
        line["custom_id"]: json.loads(line["response"]["body"]["choices"][0]["message"]["content"]) for line in lines
    }


def test_a_table_is_filled_in_and_the_results_are_delivered_as_they_were_corrected(place: Place) -> None:
    batch = bills(place, "ledger", "one", "two", "three")
    before = answers(place, batch)
    listed = place.run("review", "ledger")
    assert "not_in_source" in listed.stdout
    assert "--import review.csv" in listed.stderr
    found = json.loads(place.run("review", "ledger", "--json").stdout)
    assert len(found) == 3
    place.run("review", "ledger", "--out", "review.csv")
    rows = table_of(place.folder / "review.csv")
    assert list(rows[0]) == list(review_table.COLUMNS)
    for row in rows:
        if row["document"].startswith("one"):
            row["correction"] = {"/issuer": "Anvil; Works", "/total": "12.50"}[row["pointer"]]
        elif row["document"].startswith("two"):
            row["decision"] = "confirm"
    fill_in(place.folder / "review.csv", rows)
    told = json.loads(place.run("review", "ledger", "--import", "review.csv", "--json").stdout)
    assert told == {"decided": 2, "refused": []}
    assert answers(place, batch) == {**before, "one.txt": {"issuer": "Anvil; Works", "total": 12.5}}
    place.run("results", batch, "--out", "all.csv")
    by_name = {row["name"]: row for row in table_of(place.folder / "all.csv")}
    assert (by_name["one.txt"]["issuer"], float(by_name["one.txt"]["total"])) == ("Anvil; Works", 12.5)
    (place.folder / "mirror").mkdir()
    place.run("results", batch, "--out", "mirror/")
    assert json.loads((place.folder / "mirror/one.txt.json").read_text("utf-8"))["answer"]["total"] == 12.5
    assert [one["document"]["name"] for one in json.loads(place.run("review", "ledger", "--json").stdout)] == [
        "three.txt"
    ]
    again = json.loads(place.run("review", "ledger", "--import", "review.csv", "--json").stdout)
    assert again == {"decided": 2, "refused": []}, "the same said twice is one decision"
    assert place.run("review", "ledger", "--state", "corrected", "--out", "-").stdout.count("\n") > 1


def test_what_is_refused_is_told_by_line_and_the_rest_is_done(place: Place) -> None:
    bills(place, "journal", "one", "two", "three", "four")
    place.run("review", "journal", "--out", "review.csv")
    rows = table_of(place.folder / "review.csv")
    wrong = {
        "one.txt": ("/total", "5000", ""), "two.txt": ("/total", "many", ""), "three.txt": ("/issuer", "Anvil", "drop"),
    }  # fmt: skip
    for row in rows:
        pointer, correction, decision = wrong.get(row["document"], ("/issuer", "", "drop"))
        if row["pointer"] == pointer:
            row["correction"], row["decision"] = correction, decision
    rows.append({**rows[0], "review": f"review_{'0' * 32}", "correction": "", "decision": "confirm"})
    fill_in(place.folder / "review.csv", rows)
    done = place.run("review", "journal", "--import", "review.csv", code=3)
    numbers = {row["document"]: number for number, row in enumerate(rows, 2) if row["correction"] or row["decision"]}
    assert f"line {numbers['one.txt']}: " in done.stderr
    assert "/total: it must lie between 0 and 1000" in done.stderr
    assert f"line {numbers['two.txt']}: 'many' is no null or number" in done.stderr
    assert f"line {numbers['three.txt']}: It is both corrected and dropped" in done.stderr
    assert f"line {len(rows) + 1}: There is no review" in done.stderr
    assert "1 decided, 4 refused" in done.stderr
    (place.folder / "other.csv").write_text("a,b\n1,2\n", "utf-8")
    assert "no column" in place.run("review", "journal", "--import", "other.csv", code=1).stderr
    assert "Cannot read" in place.run("review", "journal", "--import", "gone.csv", code=1).stderr
    assert "no task" in place.run("review", "never-defined", code=1).stderr


def test_a_document_is_forgotten_once_somebody_says_yes(place: Place) -> None:
    batch = bills(place, "archive", "one", "two")
    digest = hashlib.sha256(b"archive one").hexdigest()
    assert "--yes" in place.run("forget", "--document", digest, code=1).stderr
    told = place.run("forget", "--document", f"sha256:{digest}", "--yes")
    assert "results" in told.stdout
    assert "was written anew" in told.stdout
    lines = {line["custom_id"]: line for line in map(json.loads, place.run("results", batch).stdout.splitlines())}
    assert lines["one.txt"]["error"]["code"] == "forgotten"
    assert lines["two.txt"]["error"] is None
    again = json.loads(place.run("forget", "--document", digest, "--yes", "--json").stdout)
    assert not any(again["taken"].values())
    assert "Nothing was stored of it" in place.run("forget", "--document", digest, "--yes").stderr
    assert "sha256sum" in place.run("forget", "--document", "letter.pdf", "--yes", code=2).stderr


# From here on: the table itself.


def review_with(name: str, value: Any, pointer: str = "/a") -> dict[str, Any]:
    field = {"value": value, "reasons": ["not_in_source"], "confidence": 0.25, "page": 3, "box": None}
    return {"id": "review_1", "document": {"name": name, "hash": ""}, "fields": {pointer: field}}


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "＝", " =", "\n="])
def test_no_cell_is_run_by_a_spreadsheet_and_each_comes_back_as_it_was(begin: str) -> None:
    text = f"{begin}HYPERLINK(1)"
    (_, row) = review_table.rows([review_with(text, text, f"/{text}")])
    for cell in (row[1], row[3]):
        assert cell == f"'{text}" if begin != "\n=" else cell
        assert review_table.plain(cell) == text
    data = b"".join(review_table.written(review_table.rows([review_with(text, text)]))).decode()
    (back,) = csv.DictReader(io.StringIO(data, newline=""))
    assert (back["review"], back["confidence"], back["page"], back["correction"]) == ("review_1", "0.25", "3", "")


@pytest.mark.parametrize(
    "kind, text, value",
    [
        ("string", "12.5", "12.5"), ("string", '"quoted"', "quoted"), ("string", "null", "null"), (["string", "null"], "null", None),
        ("number", "12.5", 12.5), ("integer", "7", 7), ("boolean", "true", True), (["number", "null"], "null", None),
        ("array", '["a"]', ["a"]), (None, "free", "free"), (None, "3", 3), (["number", "string"], "n/a", "n/a"),
    ],
)  # fmt: skip
def test_a_cell_is_read_by_the_type_of_its_field(kind: Any, text: str, value: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {"type": kind} if kind else {}},
    }
    line = review_table.Filled(2, "review_1", "/a", text, "")
    assert review_table.corrected({"a": 0, "b": [1]}, [line], schema) == {"a": value, "b": [1]}


def test_a_correction_goes_to_its_place_and_nowhere_else() -> None:
    answer = {"lines": [{"amount": 1}, {"amount": 2}], "a/b": "x"}
    schema = {
        "properties": {"lines": {"items": {"properties": {"amount": {"type": "number"}}}}, "a/b": {"type": "string"}}
    }
    lines = [review_table.Filled(2, "r", "/lines/1/amount", "3", ""), review_table.Filled(3, "r", "/a~1b", "5", "")]
    assert review_table.corrected(answer, lines, schema) == {"lines": [{"amount": 1}, {"amount": 3}], "a/b": "5"}
    assert answer["a/b"] == "x"
    for pointer in ("/lines/7/amount", "/lines/x", "/never/there", "/a~1b/c"):
        with pytest.raises(InvalidRequest, match="no place"):
            review_table.corrected(answer, [review_table.Filled(2, "r", pointer, "1", "")], None)


def test_tables_of_spreadsheets_are_read_whatever_they_part_cells_with() -> None:
    text = "review;pointer;correction;decision\r\nreview_1;/a;;Drop \r\nreview_2;/a;;\r\nreview_1;/b;;drop\r\n"
    (wanted,) = review_table.filled(io.StringIO(text, newline=""))
    assert (wanted.review, wanted.decision, [line.number for line in wanted.lines]) == ("review_1", "drop", [2, 4])
    for told, lines in (("both confirm and drop", "r,/a,,confirm\nr,/b,,drop\n"), ("'maybe' is none", "r,/a,,maybe\n")):
        (one,) = review_table.filled(io.StringIO(f"review,pointer,correction,decision\n{lines}"))
        with pytest.raises(InvalidRequest, match=told):
            _ = one.decision
