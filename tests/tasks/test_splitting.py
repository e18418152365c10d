"""Long documents become pieces that hold everything, and the pieces' answers one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks.builtin import builtin
from orchestrator.tasks.document import Block
from orchestrator.tasks.measure import fitting, size_of
from orchestrator.tasks.parameters import resolved
from orchestrator.tasks.reducing import keys_in, reduced
from orchestrator.tasks.splitting import pieces_of

ANSWER = builtin("answer")


def block(text: str, page: int = 1, kind: str = "paragraph", level: int = 0) -> Block:
    return Block(page, text, kind, level, None)


@given(
    st.lists(st.tuples(st.text("ab c.\n", min_size=1, max_size=400), st.integers(1, 5)), max_size=30),
    st.integers(20, 200),
)
def test_no_word_is_lost_and_no_piece_is_longer_than_it_may_be(given: list[tuple[str, int]], most: int) -> None:
    blocks = [block(text, page) for text, page in given if text.strip()]
    pieces = pieces_of(blocks, most)
    for piece in pieces:
        assert sum(len(one.text) + 2 for one in piece) <= most
    whole = "".join("".join(one.text.split()) for one in blocks)
    assert "".join("".join(one.text.split()) for piece in pieces for one in piece) == whole


def test_a_piece_ends_before_a_heading_or_at_the_end_of_a_page_where_it_can() -> None:
    blocks = [
        block("x" * 40),
        block("y" * 20),
        block("# Next", kind="heading", level=1),
        block("z" * 20),
        block("w" * 40),
    ]
    assert [piece[0].text[:3] for piece in pieces_of(blocks, 110)] == ["xxx", "# N"]
    pages = [block("x" * 40, 1), block("y" * 20, 1), block("z" * 20, 2), block("w" * 40, 2)]
    assert [piece[0].page for piece in pieces_of(pages, 100)] == [1, 2]


def test_pieces_overlap_by_whole_blocks_where_the_task_asks_for_it() -> None:
    blocks = [block(sign * 20) for sign in "abcdef"]
    pieces = pieces_of(blocks, 70, overlap=30)
    assert [[one.text[0] for one in piece] for piece in pieces] == [["a", "b", "c"], ["c", "d", "e", "f"]]


def test_a_table_that_is_cut_keeps_its_head_in_each_part() -> None:
    rows = "\n".join(f"| row {number} | {number} |" for number in range(40))
    table = block(f"| what | how many |\n| --- | --- |\n{rows}", kind="table")
    pieces = pieces_of([table], 200)
    assert len(pieces) > 3
    assert all(one.text.startswith("| what | how many |\n| --- |") for piece in pieces for one in piece)
    assert all(f"| row {number} |" in "".join(one.text for piece in pieces for one in piece) for number in range(40))


def test_fields_are_merged_and_what_differs_is_told() -> None:
    answers = [
        json.dumps({"issuer": "ACME", "total": None, "lines": [{"a": 1}]}), json.dumps({"issuer": "ACME Ltd", "total": 12, "lines": [{"a": 2}]}),
        json.dumps({"issuer": None, "total": 12, "lines": []}),
    ]  # fmt: skip
    found = reduced(answers, "merge-fields", {})
    assert json.loads(found.answer) == {"issuer": "ACME", "total": 12, "lines": [{"a": 1}, {"a": 2}]}
    assert found.conflicts == {"/issuer": ["ACME", "ACME Ltd"]}


def test_the_most_frequent_answer_wins_a_vote_and_of_equals_the_first() -> None:
    answers = ['{"label": "a"}', '{ "label":"b"}', '{"label":"b"}', '{"label": "c"}']
    found = reduced(answers, "vote", {})
    assert json.loads(found.answer) == {"label": "b"}
    assert found.conflicts[""] == [{"label": "a"}, {"label": "b"}, {"label": "c"}]
    assert reduced(["x", "y"], "vote", None).answer == "x"


@pytest.mark.parametrize("rule", ["concat", "merge-fields"])
def test_lists_of_answers_go_one_behind_the_other(rule: str) -> None:
    answers = [json.dumps({"answers": [{"q": "one", "a": 1}]}), json.dumps({"answers": [{"q": "two", "a": 2}]})]
    found = reduced(answers, rule, {})  # type: ignore[arg-type]
    assert json.loads(found.answer)["answers"] == [{"q": "one", "a": 1}, {"q": "two", "a": 2}]
    assert reduced(["One.", " ", "Two."], "concat", None).answer == "One.\n\nTwo."


def test_entries_that_are_told_apart_by_a_field_are_merged_one_by_one() -> None:
    assert ANSWER is not None
    schema = resolved(ANSWER, {"questions": ["Who?", "When?"]}).output_schema or {}
    assert keys_in(schema) == {"/answers": "question"}

    def said(who: str | None, when: str | None) -> str:
        rows = [("Who?", who), ("When?", when)]
        return json.dumps({"answers": [{"question": one, "answer": text, "quote": text} for one, text in rows]})

    found = reduced(
        [said(None, None), said("Ann", None), said("Ann", "May"), said("Bob", None)], "merge-fields", schema
    )
    told = {one["question"]: one["answer"] for one in json.loads(found.answer)["answers"]}
    assert told == {"Who?": "Ann", "When?": "May"}
    assert found.conflicts == {"/answers/0/answer": ["Ann", "Bob"], "/answers/0/quote": ["Ann", "Bob"]}
    assert len(json.loads(found.answer)["answers"]) == 2


def test_a_text_of_other_scripts_takes_the_room_that_its_tokens_do() -> None:
    assert (size_of("abc"), size_of("äb"), size_of("漢字"), size_of("Приве́т"), size_of("😀!")) == (3, 3, 8, 14, 5)
    pieces = pieces_of([block("漢字。" * 2_000)], 600)
    assert all(sum(size_of(one.text) + 2 for one in piece) <= 600 for piece in pieces)
    assert "".join(one.text for piece in pieces for one in piece) == "漢字。" * 2_000


@given(st.text(st.sampled_from("ab 漢ж😀\n"), max_size=300), st.integers(4, 200))
def test_what_fits_is_as_long_as_is_told(text: str, most: int) -> None:
    count = fitting(text, most)
    assert count <= len(text)
    assert size_of(text[:count]) <= most or count == 1
    assert count or not text
