"""The figures of documents: how words are counted, what is found, and what becomes of the rows."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.documents import broken, eyes, folder, forms, invoices, made, nasty, scans, second_run, speed, text
from benchmarks.documents.collection import Document, collected
from benchmarks.documents.reads import Read
from benchmarks.documents.running import SCHEMA
from benchmarks.documents.words import found_words, recall, word_f1, words
from benchmarks.report import Row
from orchestrator.documents.choice import Policy
from orchestrator.documents.reading import Block, Page, Reading, Scan, Unreadable
from orchestrator.tasks.sources import Source
from workers.engines._simulated.answer import fate_of

TEXTS = st.text("ab Z.*_é\n", max_size=60)


def read(document: Document, *pages: Page, error: Unreadable | None = None) -> Read:
    return Read(document, None if error else Reading("pdf", pages), error, 1.0)


def page(content: str, confidence: float | None = None, number: int = 1) -> Page:
    scan = None if confidence is None else Scan(1000, 0.0, ink=0.1, confidence=confidence)
    return Page(number, (Block(content),) if content else (), "text" if scan is None else "ocr", scan=scan)


def document(folder: Path, name: str, transcript: str, note: str = "a scan") -> Document:
    expected = folder / f"{name}.txt"
    expected.write_text(transcript, "utf-8")
    return Document(name, folder / name, (expected,), note)


def targets(rows: list[Row]) -> list[bool]:
    return [row.holds for row in rows if row.holds is not None]


@pytest.mark.parametrize(
    "marked, plain",
    [
        ("# Heading\n\nSome **bold** and _slanted_ text.", "heading some bold and slanted text"),
        ("| a | b |\n| --- | :-: |\n| 1 | 2 |", "a b 1 2"),
        ('![a picture](x/y.png) and [a link](https://example.com/a_(b) "title")', "a picture and a link"),
        ("<!-- image -->Ducks \\_here\\_ &amp; there", "ducks here there"),
        ("- [ ] one\n- [x] two `code`", "one x two code"),
    ],
)  # fmt: skip
def test_marks_of_markdown_and_punctuation_are_no_words(marked: str, plain: str) -> None:
    assert words(marked) == words(plain)


def test_words_count_as_often_as_they_stand_there() -> None:
    assert word_f1("a a b", "a b b") == pytest.approx(2 / 3)
    assert word_f1("A, b!", "b a") == 1.0
    assert word_f1("", "a") == 0.0
    assert word_f1("", "") == 1.0
    assert found_words("a a b", "a b b c") == (2, 4)
    assert recall("anything", "") == 1.0


@given(TEXTS, TEXTS)
def test_word_f1_is_the_same_both_ways_and_1_of_a_text_with_itself(one: str, other: str) -> None:
    assert word_f1(one, other) == word_f1(other, one)
    assert 0.0 <= word_f1(one, other) <= 1.0
    assert word_f1(one, one) == 1.0


@given(TEXTS, TEXTS)
def test_more_text_never_lowers_recall(found: str, transcript: str) -> None:
    assert recall(f"{found} and more", transcript) >= recall(found, transcript)


def test_a_document_that_could_not_be_read_counts_as_nothing_read(tmp_path: Path) -> None:
    one = read(document(tmp_path, "a.pdf", "words"), error=Unreadable("unreadable_file", "Broken. Save it anew."))
    rows = text.rows({"a.pdf": text.score(one), "b.pdf": 1.0}, [one], "made")
    assert [row.value for row in rows[:2]] == [0.5, 0.0]
    assert targets(rows) == [False, False]
    assert "unreadable_file" in rows[1].note


def test_values_of_fields_are_told_with_their_places() -> None:
    fields = [{"issuer": "X", "desc": "Invoice from X", "lines": [{"price": 0.0, "name": None}], "note": " "}]
    assert list(invoices.values(fields)) == [("/0/issuer", "X"), ("/0/lines/0/price", 0.0)]
    found = Source("Issued by X on 3 August 2014, total 1.234,50")
    assert all(found.find(value) is not None for value in ("X", "2014-08-03", 1234.5))


def test_a_group_is_held_to_its_share_and_to_the_better_peer() -> None:
    ours = {"receipts": [0.9, 0.92, 0.94], "book": [0.8]}
    peers = {"rapidocr": {"receipts": [0.95], "book": [0.7]}, "tesseract": None}
    rows = scans.compared(ours, peers, "made")
    assert [(row.value, row.holds) for row in rows] == [(0.92, True), (-0.03, False), (0.8, False), (0.1, True)]
    assert "tesseract NOT measured" in rows[1].note


def test_text_pictures_and_clear_errors_are_outcomes_and_all_else_is_unclear() -> None:
    def told(message: str) -> Read:
        return read(Document("x", Path("x")), error=Unreadable("unreadable_file", message))

    one = Document("x", Path("x"))
    assert nasty.outcome(read(one, page("words"))) == "text"
    assert nasty.outcome(read(one, Page(1, source="none"))) == "picture"
    assert nasty.outcome(read(one)) == "unclear"
    assert nasty.outcome(told("It is locked. Give its password.")) == "error"
    assert nasty.outcome(told("")) == "unclear"
    rows = nasty.rows([told("Error"), read(one, page("words"))], [], 10**9, "made")
    assert targets(rows) == [False, True, True, True]


def test_a_page_that_is_looked_at_counts_as_read_perfectly(tmp_path: Path) -> None:
    sure = read(document(tmp_path, "sure.png", "one two three four"), page("one two", 0.99))
    unsure = read(document(tmp_path, "unsure.png", "one two"), page("", 0.1))
    half = read(document(tmp_path, "half.pdf", "one two"), page("one", 0.99), page("", 0.1, number=2))
    plain = read(document(tmp_path, "plain.pdf", "one"), page("other"))
    found = [eyes.seen(one, Policy()) for one in (sure, unsure, half, plain)]
    assert [(one.scanned, one.looked_at, one.found, one.wanted) for one in found] == [
        (1, 0, 2, 4), (1, 1, 2, 2), (2, 1, 1, 2), (0, 0, 0, 0),
    ]  # fmt: skip
    assert targets(eyes.rows(found, "made")) == [False, False]


def test_no_reader_is_faster_by_reading_less(tmp_path: Path) -> None:
    one = document(tmp_path, "x.pdf", "all of the text", note="")
    peers = {
        "markitdown": speed.Reader(["all of the"], [9.1, 8.0], [1.0]),
        "pdfplumber": speed.Reader([None], [3.0, 2.0], [1.0]),
    }
    fast = speed.rows({"ours": speed.Reader(["all"], [9.0, 8.2], [1.0]), **peers}, [one], 1, "made")
    assert targets(fast) == [True, True, False]
    whole = speed.rows({"ours": speed.Reader(["all of the text"], [8.0, 7.0], [1.0]), **peers}, [one], 1, "made")
    assert targets(whole) == [False, True, True]


def test_what_a_broken_engine_delivers_is_judged_by_the_fate_of_each_job() -> None:
    right = '{"kind": "other", "total": 1, "issuer": "x"}'
    jobs = {f"row-{number}": f"{number:032x}" for number in range(200)}
    fates = {name: fate_of(job_id, forms.OPTIONS) for name, job_id in jobs.items()}

    def line(answer: str | None) -> dict[str, object]:
        body = {"choices": [{"message": {"content": answer}}]}
        return {"error": {"code": "wrong_form"}} if answer is None else {"response": {"status_code": 200, "body": body}}

    well = {name: line(None if fate.is_broken and not fate.is_mended else right) for name, fate in fates.items()}
    found = forms.judged(well, jobs)
    assert (found.broken, found.invalid, found.lost) == (sum(one.is_broken for one in fates.values()), [], [])
    assert found.repaired == found.repairable < found.broken
    assert targets(forms.rows(found, 200)) == [True, True, True]
    assert targets(forms.rows(forms.judged(dict.fromkeys(jobs, line("{}")), jobs), 200))[0] is False
    nothing = forms.judged(dict.fromkeys(jobs, line(None)), jobs)
    assert targets(forms.rows(nothing, 200))[1:] == [False, False]
    assert SCHEMA["additionalProperties"] is False


def test_a_second_run_must_run_what_changed_and_no_more() -> None:
    assert targets(second_run.rows(1000, 10, [1000, 10], [20.0, 2.0], [10.0, 0.5])) == [True, True]
    assert targets(second_run.rows(1000, 10, [1000, 11], [20.0, 2.0], [10.0, 1.5])) == [False, False]
    assert targets(second_run.rows(1000, 10, [1000, 9], [20.0, 2.0], [10.0, 0.5])) == [False, True]


def test_memory_is_flat_when_ten_times_the_files_need_hardly_more() -> None:
    few = folder.Run(1000, 5.0, 6.0, 10**8, 1.0, 1.0, {})
    more = folder.Run(10_000, 50.0, 55.0, 2 * 10**8, 1.0, 1.0, {"command": 9.0})
    assert targets(folder.rows(few, more)) == [True, False, True, True]


def test_the_documents_that_are_made_are_told_like_any_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken, "BOMB_BYTES", 2**20)
    monkeypatch.setattr(made, "SCANS", 2)
    where = made.collection(tmp_path / "made")
    monkeypatch.setenv("DOCUMENTS", str(where))
    collected.cache_clear()
    found = collected()
    collected.cache_clear()
    with (where / "MANIFEST.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found.good) + len(found.nasty)
    assert not found.is_made
    assert len(found.scans()) == made.SCANS
    assert len(found.texts()) == 6 * made.TEXTS
    assert sum(one.fields is not None for one in found.good) == made.INVOICES
    assert all(one.path.is_file() for one in (*found.good, *found.nasty))


def test_lines_with_boxes_keep_the_commas_of_their_text(tmp_path: Path) -> None:
    (tmp_path / "1.box.csv").write_text("1,2,3,4,5,6,7,8,TOTAL, RM 9.00\n\n1,2,3,4,5,6,7,8,THANK YOU\n", "utf-8")
    assert Document("1.jpg", tmp_path / "1.jpg", (tmp_path / "1.box.csv",)).text == "TOTAL, RM 9.00\nTHANK YOU"


@pytest.mark.parametrize(
    "name, note, is_scan",
    [("a.png", "", True), ("a.PDF", "a Scan without text", True), ("a.pdf", "", False), ("a.html", "of scanned pages", False)],
)  # fmt: skip
def test_only_pictures_and_pdfs_that_are_called_so_are_scans(name: str, note: str, is_scan: bool) -> None:
    assert Document(name, Path(name), note=note).is_scan is is_scan
