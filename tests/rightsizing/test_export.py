"""Training data for language models: nothing stands on both sides, everything says where it comes from, and the folder is whole or not there."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import exporting as command
from orchestrator.errors import Conflict, InvalidRequest, TooLarge
from orchestrator.rightsizing.training import export as exporting
from orchestrator.rightsizing.training.export import LEAST_ROWS, SPLITS, Example, Exported, Shares, export, split_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SYSTEM = {"role": "system", "content": "Name the topic."}


def example(text: str, answer: str = "card", **given: Any) -> Example:
    told = {
        "source": "reference", "task_version": 1, "job_id": f"job_{text[:20]}", "model": "house-llm", "revision": "r1",
        "answered_on": date(2026, 11, 1), **given,
    }  # fmt: skip
    return Example(messages=[SYSTEM, {"role": "user", "content": text}], answer=answer, **told)


def many(count: int = 200) -> list[Example]:
    return [example(f"text {number}", f"answer {number % 7}") for number in range(count)]


def write(rows: list[Example], folder: Path, **given: Any) -> Exported:
    return export(rows, folder, task="support-triage", made_at=NOW, **given)


def lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for split in SPLITS:
        for line in (folder / f"{split}.jsonl").read_bytes().splitlines():
            yield split, json.loads(line)


def test_rows_become_chats_that_end_in_the_answer_and_say_where_they_come_from(tmp_path: Path) -> None:
    first = example("Where is my card?", "card", source="review", simulated=True, task_version=3)
    write([first, *many()], tmp_path / "out")
    found = {line["messages"][1]["content"]: line for _, line in lines(tmp_path / "out")}
    assert len(found) == 201
    assert found["Where is my card?"]["messages"] == [
        SYSTEM,
        {"role": "user", "content": "Where is my card?"},
        {"role": "assistant", "content": "card"},
    ]
    assert found["Where is my card?"]["provenance"] == {
        "job_id": "job_Where is my card?", "model": "house-llm", "revision": "r1", "simulated": True, "source": "review",
        "task_version": 3, "answered_on": "2026-11-01",
    }  # fmt: skip


def test_the_manifest_counts_every_row_and_its_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    rows = [
        *many(),
        example("TEXT  1", "answer 1"),
        example("given", source="label", job_id=None, model=None, revision=None),
    ]
    made = write([*rows, example("made up", simulated=True, model="sim-llm", revision=None)], tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert told == json.loads(json.dumps(made.as_dict()))
    assert told["rows_read"] == 203 == told["kept"] + sum(told["left_out"].values())
    assert told["left_out"] == {"duplicate": 1}
    assert told["sources"] == {"label": 1, "reference": 201}
    assert told["models"] == {"house-llm (r1)": 200, "sim-llm (revision unknown)": 1}
    assert told["simulated"] == 1
    for name, file in told["files"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert file == {
            "rows": content.count(b"\n"), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted([*told["files"], "manifest.json"])
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_the_same_rows_give_the_same_bytes_and_more_rows_move_none(tmp_path: Path) -> None:
    made = [write(many(), tmp_path / name) for name in ("a", "b")]
    assert made[0].files == made[1].files
    write(many(400), tmp_path / "more")
    before = {line["messages"][1]["content"]: split for split, line in lines(tmp_path / "a")}
    after = {line["messages"][1]["content"]: split for split, line in lines(tmp_path / "more")}
    assert before.items() <= after.items()
    salted = write(many(), tmp_path / "salted", salt="another")
    assert salted.files["train.jsonl"]["sha256"] != made[0].files["train.jsonl"]["sha256"]


def test_the_shares_are_about_those_that_were_asked_for() -> None:
    found = Counter(split_of(f"group {number}", "", Shares(0.2, 0.1)) for number in range(20_000))
    assert abs(found["validation"] - 4_000) < 250
    assert abs(found["test"] - 2_000) < 200
    assert {split_of(f"{number}", "", Shares(0, 0)) for number in range(100)} == {"train"}


def test_rows_of_one_group_stand_in_one_file(tmp_path: Path) -> None:
    rows = [
        example(f"page {page} of {document}", group=f"document {document}")
        for document in range(60)
        for page in range(5)
    ]
    write(rows, tmp_path / "out")
    sides: dict[str, set[str]] = {}
    for split, line in lines(tmp_path / "out"):
        sides.setdefault(line["messages"][1]["content"].split(" of ")[1], set()).add(split)
    assert len(sides) == 60
    assert all(len(one) == 1 for one in sides.values())
    assert len(set.union(*sides.values())) == 3


def test_equal_texts_are_one_row_whatever_their_case_blanks_instructions_and_examples(tmp_path: Path) -> None:
    asked = [
        {"role": "system", "content": "Other words."},
        {"role": "user", "content": "an example"},
        {"role": "assistant", "content": "card"},
        {"role": "user", "content": " text\n7 "},
    ]
    made = write(
        [*many(), example("TEXT   7", "answer 0"), Example(asked, "answer 0", "reference", 1)], tmp_path / "out"
    )
    assert (made.kept, dict(made.left_out)) == (200, {"duplicate": 2})


def test_of_equal_texts_the_strongest_source_and_the_newest_task_win(tmp_path: Path) -> None:
    rows = [
        example("one", "by model"), example("one", "by feedback", source="feedback"), example("one", "by label", source="label"),
        example("one", "by model again"), example("two", "old", task_version=1), example("two", "new", task_version=2),
        example("two", "old again", task_version=1), example("three", "first"), example("three", "second"),
    ]  # fmt: skip
    made = write([*many(), *rows], tmp_path / "out")
    found = {line["messages"][1]["content"]: line["messages"][-1]["content"] for _, line in lines(tmp_path / "out")}
    assert (found["one"], found["two"], found["three"]) == ("by label", "new", "first")
    assert dict(made.left_out) == {"another_answer": 1, "duplicate": 5}


def test_people_who_contradict_each_other_teach_nothing_and_are_named(tmp_path: Path) -> None:
    rows = [
        example("one", "card", source="label", job_id="job_1"), example("one", "refund", source="label", job_id="job_2"),
        example("two", '{"a": 1, "b": 2}', source="review"), example("two", '{"b":2,"a":1}', source="review"),
        example("three", "Card.", source="label"), example("three", "card", source="label"),
    ]  # fmt: skip
    made = write([*many(), *rows], tmp_path / "out")
    texts = {line["messages"][1]["content"] for _, line in lines(tmp_path / "out")}
    assert texts & {"one", "two", "three"} == {"two", "three"}
    assert (made.contradictions, dict(made.left_out)) == (["job_1"], {"contradicted": 2, "duplicate": 2})


@pytest.mark.parametrize(
    "messages, answer, why",
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}], "x", "not_text"),
        ([{"role": "tool", "content": "3"}, {"role": "user", "content": "x"}], "x", "not_text"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}, {"role": "user", "content": "x"}], "x", "not_text"),
        ([{"role": "user", "content": "half \ud83d"}], "x", "not_text"),
        ([{"role": "user"}], "x", "not_text"),
        ([SYSTEM], "x", "no_question"),
        ([], "x", "no_question"),
        ([{"role": "user", "content": " \n"}], "x", "no_question"),
        ([{"role": "user", "content": "x"}], " \n", "no_answer"),
        ([{"role": "user", "content": "x" * 1_100_000}], "x", "too_long"),
    ],
)
def test_what_teaches_nothing_is_left_out_and_counted(messages: Any, answer: str, why: str, tmp_path: Path) -> None:
    made = write([*many(), Example(messages, answer, "reference", 1)], tmp_path / "out")
    assert (made.kept, dict(made.left_out)) == (200, {why: 1})


def test_a_message_in_parts_of_text_is_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    write([*many(), Example([{"role": "user", "content": parts}], "x", "reference", 1)], tmp_path / "out")
    assert "first\nsecond" in {line["messages"][-2]["content"] for _, line in lines(tmp_path / "out")}


def test_other_languages_stand_in_the_files_as_they_are(tmp_path: Path) -> None:
    write([*many(), example("Où est ma carte ? 卡在哪里？ 🙂", "карта")], tmp_path / "out")
    found = [line for _, line in lines(tmp_path / "out") if line["messages"][-1]["content"] == "карта"]
    assert found[0]["messages"][1]["content"] == "Où est ma carte ? 卡在哪里？ 🙂"


def test_three_rows_are_refused_with_how_many_are_missing_and_leave_nothing(tmp_path: Path) -> None:
    rows = [*many(3), Example([SYSTEM], "x", "reference", 1)]
    with pytest.raises(InvalidRequest, match=rf"3 rows to train on \(left out: 1 no_question\).*{LEAST_ROWS - 3} more"):
        write(rows, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_rows_of_one_document_alone_are_no_training_data(tmp_path: Path) -> None:
    rows = [example(f"page {number}", group="the document") for number in range(100)]
    with pytest.raises(
        InvalidRequest, match=r"so few documents that none falls into (train|validation|test) and .*Run more documents"
    ):
        write(rows, tmp_path / "out")
    write(rows, tmp_path / "all", shares=Shares(0, 0))
    assert (tmp_path / "all" / "train.jsonl").read_bytes().count(b"\n") == 100
    assert [one.name for one in tmp_path.iterdir()] == ["all"]


def test_a_folder_that_holds_something_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(many(), tmp_path / "out")  # empty: taken
    before = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    with pytest.raises(Conflict, match="is there already"):
        write(many(300), tmp_path / "out")
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Conflict):
        write(many(), tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidRequest, match="give another folder"):
        write(many(), tmp_path / "file" / "out")


def test_a_row_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Example]:
        yield from many()
        raise RuntimeError("the store went away")

    with pytest.raises(RuntimeError):
        export(broken(), tmp_path / "out", task="t", made_at=NOW)
    assert list(tmp_path.iterdir()) == []


def test_more_rows_than_there_may_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_ROWS", 100)
    with pytest.raises(TooLarge, match="more than 100 rows"):
        write(many(101), tmp_path / "out")


@pytest.mark.parametrize("validation, test", [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, test: float) -> None:
    with pytest.raises(InvalidRequest, match="leave nothing to train on"):
        Shares(validation, test)


def test_what_was_left_out_is_told_in_words_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = {"role": "user", "content": "x"}
    odd = [
        Example([], "x", "reference", 1),
        Example([user], " ", "reference", 1),
        Example([{**user, "tool_calls": [{}]}], "x", "reference", 1),
        Example([{**user, "content": "x" * 1_100_000}], "x", "reference", 1),
        example("text 1", "else"),
        example("TEXT 1", "answer 1"),
        example("text 2", "card", source="label", job_id="job_a"),
        example("text 2", "refund", source="label"),
        example("text 3", "made up", source="label", simulated=True),
    ]
    asked: list[object] = []

    def stored(settings: object, task: str, folder: Path, *, since: str | None) -> dict[str, Any]:
        asked.append((task, since))
        return write([*many(), *odd], folder).as_dict()

    monkeypatch.setattr(command, "server_command", {"export_task": stored}.__getitem__)
    monkeypatch.setattr(command, "with_servers", lambda settings, **given: nullcontext(settings))
    command.export("support-triage", tmp_path / "out", since="2026-11-01")
    told = capsys.readouterr()
    assert asked == [("support-triage", "2026-11-01")]
    assert "support-triage: 199 of 209 rows" in told.out
    assert "right by: label 1, reference 198" in told.out
    shown = {why: f"left out {count}: {words}" in told.out for why, words, count in reasons(tmp_path / "out")}
    assert shown == dict.fromkeys(command.WHY, True)
    assert "job_a" in told.err
    assert "1 of 199 answers are simulated" in " ".join(told.err.split())
    command.export("support-triage", tmp_path / "again", as_json=True)
    assert json.loads(capsys.readouterr().out)["kept"] == 199


def reasons(folder: Path) -> Iterator[tuple[str, str, int]]:
    for why, count in json.loads((folder / "manifest.json").read_bytes())["left_out"].items():
        yield why, command.WHY[why], count
