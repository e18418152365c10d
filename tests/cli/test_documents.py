"""`rightsize submit FOLDER --task NAME`, `rightsize tasks`, and results of documents in every form."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.stack import ROOT

SCHEMA = str(ROOT / "examples/invoice.schema.json")
EXTRACT = ("--task", "extract", "--schema", SCHEMA, "--wait")


@pytest.fixture
def invoices(place: Place) -> Path:
    """Three invoices, a broken one and an empty one."""
    folder = place.folder / "invoices"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "examples/invoices", folder)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (folder / "empty.txt").write_bytes(b"")
    return folder


def test_a_folder_becomes_fields_a_report_and_a_manifest_and_runs_once(place: Place, invoices: Path) -> None:
    first = place.run(
        "submit", str(invoices), *EXTRACT, "--out", "out/", "--report", "report.html", "--manifest", "manifest.jsonl"
    )
    assert "5 documents: 3 read" in first.stderr
    assert sorted(one.name for one in (place.folder / "out").iterdir() if not one.name.startswith(".")) == [
        "2041.txt.json", "2042.html.json", "2043.eml.json", "broken.pdf.error.json", "empty.txt.error.json",
    ]  # fmt: skip
    told = json.loads((place.folder / "out/2042.html.json").read_text("utf-8"))
    assert set(told["answer"]) == {"issuer", "invoice_number", "date", "total", "currency"}
    page = (place.folder / "report.html").read_text("utf-8")
    assert "simulated" in page.casefold()
    assert "<script" not in page
    manifest = [json.loads(line) for line in (place.folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [one["custom_id"] for one in manifest] == ["2041.txt", "2042.html", "2043.eml", "broken.pdf", "empty.txt"]
    assert [one.get("error") for one in manifest][3:] == ["unreadable_file", "empty_file"]
    again = place.run("submit", str(invoices), *EXTRACT, "--out", "again.csv")
    assert "3 answered before, and not run again" in again.stderr
    with (place.folder / "again.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reused"] for row in rows if row["error_code"] == ""] == ["true"] * 3
    (invoices / "2041.txt").write_text("Another invoice: 12.00", "utf-8")
    assert "1 read (1 pages), 2 answered before" in place.run("submit", str(invoices), *EXTRACT).stderr
    refreshed = place.run("submit", str(invoices), *EXTRACT, "--refresh")
    assert "answered before" not in refreshed.stderr


def test_failures_are_explained_by_cause_with_what_to_do(place: Place, invoices: Path) -> None:
    made = json.loads(place.run("submit", str(invoices), *EXTRACT, "--json").stdout)
    told = place.run("results", made["id"], "--failed").stdout
    assert "broken.pdf" in told
    assert "Give it some content" in told


def test_tasks_are_made_of_files_and_compared(place: Place) -> None:
    shutil.copy(ROOT / "examples/invoices.toml", place.folder / "invoices.toml")
    shutil.copy(SCHEMA, place.folder / "invoice.schema.json")
    assert "invoices version 1" in place.run("tasks", "create", "invoices.toml").stdout
    assert "invoices" in place.run("tasks", "list").stdout
    place.run("tasks", "export", "invoices", "--out", "invoices.yaml")
    assert "defined so already" in place.run("tasks", "import", "invoices.yaml").stderr
    text = (place.folder / "invoices.yaml").read_text("utf-8")
    (place.folder / "invoices.yaml").write_text(
        text.replace("Answer with the JSON object only", "Answer in JSON"), "utf-8"
    )
    assert json.loads(place.run("tasks", "import", "invoices.yaml", "--json").stdout)["version"] == 2
    told = place.run("tasks", "diff", "invoices").stdout.splitlines()
    assert [line.strip() for line in told if line.startswith("+ ")] == [
        "+  Where the invoice does not give a field, use null. Answer in JSON."
    ]
    assert "version 2" in place.run("tasks", "show", "invoices").stdout
    assert "has no version 9" in place.run("tasks", "diff", "invoices", "1", "9", code=2).stderr


def test_flags_for_documents_without_a_task_say_what_is_missing(place: Place, invoices: Path) -> None:
    assert "rightsize tasks list" in place.run("submit", str(invoices), "--labels", "a,b", code=1).stderr
    assert "--labels" in place.run("submit", str(invoices), "--task", "classify", code=1).stderr
    assert (
        "--report needs --wait"
        in place.run("submit", str(invoices), "--task", "extract", "--report", "x.html", code=2).stderr
    )


def test_results_read_later_have_the_columns_of_the_form_and_fill_a_folder(place: Place, invoices: Path) -> None:
    made = json.loads(place.run("submit", str(invoices), *EXTRACT, "--json").stdout)
    place.run("results", made["id"], "--out", "later.csv")
    with (place.folder / "later.csv").open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    assert {"issuer", "total", "currency"} <= {name.partition(".")[0] for name in names}
    place.run("results", made["id"], "--out", "later/")
    assert (place.folder / "later/2042.html.json").exists()


def test_flags_that_would_destroy_or_do_nothing_are_refused(place: Place, invoices: Path) -> None:
    same = ("--out", "same.html", "--report", "same.html")
    assert "same file" in place.run("submit", str(invoices), *EXTRACT, *same, code=2).stderr
    assert "not written" in place.run("submit", str(invoices), *EXTRACT, "--out", "x.xlsx", code=2).stderr
    nowhere = ("--manifest", "nowhere/man.jsonl")
    assert "make it first" in place.run("submit", str(invoices), *EXTRACT, *nowhere, code=2).stderr
    told = place.run("submit", str(invoices), "--task", "sumarise", "--wait", code=1).stderr
    assert "Did you mean 'summarise'?" in told
    made = json.loads(place.run("submit", str(invoices), *EXTRACT, "--json").stdout)
    assert "leave out" in place.run("results", made["id"], "--failed", "--out", "x.csv", code=2).stderr
