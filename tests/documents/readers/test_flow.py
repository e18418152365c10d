"""Blocks of Markdown, and what they are made from."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers.flow import Cell, Flow, laid_out
from orchestrator.documents.readers.writing import Writer, clean, in_cell, title_of
from orchestrator.documents.reading import MOST_BLOCKS, Limits, Page, Reading, Unreadable, from_json, to_json
from tests.documents.readers.made import small


def cell(text: str, columns: int = 1, rows: int = 1) -> Cell:
    flow = Flow()
    flow.paragraph(text)
    return Cell(flow, columns, rows)


def written(flow: Flow) -> list[tuple[str, str]]:
    writer = Writer(Limits())
    flow.write(writer)
    return [(block.kind, block.text) for block in writer.cut()]


def test_items_that_follow_each_other_are_one_list_at_the_margin():
    flow = Flow()
    flow.item("a", 3, "-")
    flow.item("b\nc", 4, "1.")
    flow.item("more", 4, "")
    flow.paragraph("between")
    flow.item("d")
    assert written(flow) == [
        ("list", "- a\n    1. b\n       c\n        more"),
        ("paragraph", "between"),
        ("list", "- d"),
    ]


def test_lists_are_not_indented_without_end():
    flow = Flow()
    for depth in range(200):
        flow.item("x", depth)
    ((_, text),) = written(flow)
    assert max(len(line) for line in text.split("\n")) < 40


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\\\|b|", "|", "\\", "x\n| y |\n# z"])
def test_a_cell_has_no_pipe_that_parts_it_and_no_line_end(text):
    shown = in_cell(text)
    assert "\n" not in shown
    bare = shown.replace("\\\\", "").replace("\\|", "")
    assert "|" not in bare


@pytest.mark.parametrize("letter", [" ", "\n", "\t", "\\", "#", "`", "|", "\u200b"])
def test_a_million_times_the_same_letter_takes_no_time(letter):
    text = f"x{letter * 1_000_000}y"
    started = time.process_time()
    writer = Writer(Limits())
    writer.paragraph(text)
    writer.note(text)
    writer.code(text)
    writer.table([[text, "|"]])
    assert time.process_time() - started < 30


def test_a_table_is_refused_as_soon_as_it_is_too_long():
    taken = 0

    def rows():
        nonlocal taken
        while True:
            taken += 1
            yield ["x" * 100]

    with pytest.raises(Unreadable) as refused:
        Writer(small(max_chars=10_000)).table(rows())
    assert refused.value.code == "text_too_long"
    assert taken < 110


def test_notes_are_told_once_and_bounded():
    writer = Writer(Limits())
    for _ in range(3):
        writer.tell("x\n" * 2_000)
    (note,) = writer.notes
    assert len(note) == 500


def test_what_is_hidden_in_a_title_does_not_stay_hidden():
    assert title_of(" A\n\x00title\u202e ") == "A title"
    assert len(title_of("x" * 5_000)) == 300


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_clean_text_can_be_stored_and_is_clean_already(text):
    shown = clean(text)
    assert clean(shown) == shown
    assert shown.encode().decode() == shown
    assert not set("\0\r\u202e\ufeff") & set(shown)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.builds(cell, st.text("ab|", max_size=2), st.integers(0, 5), st.integers(0, 5)), max_size=4),
        max_size=6,
    )
)
def test_whatever_its_spans_a_table_loses_no_text(rows):
    shown = {text for row in laid_out(rows) for text in row}
    assert {one.flow.flat() for row in rows for one in row} - {""} <= shown


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["paragraph", "heading", "item", "code", "note"]), st.text(max_size=30)), max_size=10
    )
)
def test_whatever_is_written_can_be_told_to_another_process(pieces):
    flow = Flow()
    for kind, text in pieces:
        if kind == "heading":
            flow.heading(text, 2)
        else:
            getattr(flow, kind)(text)
    writer = Writer(Limits())
    flow.write(writer)
    reading = Reading("text", (Page(1, writer.cut()),), notes=tuple(writer.notes))
    assert len(reading.pages[0].blocks) <= MOST_BLOCKS
    assert from_json(to_json(reading)) == reading
    assert all(block.text.strip() for block in reading.pages[0].blocks)
