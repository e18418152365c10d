"""Markdown files."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import markdown
from orchestrator.documents.reading import Block, Limits, Reading
from tests.documents.readers.made import nothing_within


def read(text: str) -> Reading:
    return markdown.read(text.encode(), Limits(), nothing_within)


def blocks(text: str) -> list[tuple[str, str, int]]:
    (page,) = read(text).pages
    return [(block.kind, block.text, block.level) for block in page.blocks]


def test_blocks_are_cut_at_the_structure_and_keep_their_markdown():
    text = """Intro *here*,
two lines

# One #
Under
=====
## Two
- a
  - b

  more of b
- c

1) x
2) y

| h | i |
|---|---|
| 1 | 2 |
After
```py
# no heading
```
***
    code
    more
> quoted
"""
    assert blocks(text) == [
        ("paragraph", "Intro *here*,\ntwo lines", 0),
        ("heading", "# One", 1),
        ("heading", "# Under", 1),
        ("heading", "## Two", 2),
        ("list", "- a\n  - b\n\n  more of b\n- c\n\n1) x\n2) y", 0),
        ("table", "| h | i |\n|---|---|\n| 1 | 2 |", 0),
        ("paragraph", "After", 0),
        ("code", "```py\n# no heading\n```", 0),
        ("code", "```\ncode\nmore\n```", 0),
        ("paragraph", "> quoted", 0),
    ]


def test_the_title_is_that_of_the_front_matter_else_the_first_heading():
    assert read("---\ntitle: 'Annual report'\nauthor: x\n---\n# Other\n").title == "Annual report"
    assert read("## Not this\n\n# This\n").title == "This"
    assert read("---\nno end, so it is a rule\n").title == ""


def test_tabs_in_code_stay_tabs():
    assert blocks("```\na:\n\tb\tc\n```") == [("code", "```\na:\n\tb\tc\n```", 0)]


def test_a_fence_that_is_never_closed_is_closed_by_us():
    assert blocks("~~~\nx\n\ny") == [("code", "~~~\nx\n\ny\n~~~", 0)]


def test_a_long_table_is_cut_into_blocks_with_its_header():
    rows = [f"| {n} | x |" for n in range(450)]
    found = blocks("\n".join(["| n | x |", "|---|---|", *rows]))
    assert [kind for kind, _, _ in found] == ["table"] * 3
    assert all(text.startswith("| n | x |\n|---|---|\n") for _, text, _ in found)
    assert sum(text.count("\n") - 1 for _, text, _ in found) == 450


def test_pictures_written_into_the_text_are_left_out_and_told():
    reading = read(f"See ![chart](data:image/png;base64,{'A' * 50_000}) here")
    assert reading.text == "See ![chart](data:) here"
    assert reading.notes == ("1 pictures that are written into the text as base64 were left out.",)


@pytest.mark.parametrize(
    "text",
    ["# " + " " * 1_000_000 + "x", "a|b\n-" + " " * 1_000_000 + "x", "~" * 1_000_000 + "`", "`" * 1_000_000 + "x`", "- " * 500_000,
     "---\ntitle: " + " " * 1_000_000 + "x\n---\n", "a|b\n" + "-|" * 500_000 + "x", "\t" * 100_000 + "x", "> " * 500_000, "#" * 1_000_000],
)  # fmt: skip
def test_lines_made_to_take_long_do_not(text):
    started = time.process_time()
    read(text)
    assert time.process_time() - started < 30


def test_a_large_file_is_read_within_seconds():
    started = time.process_time()
    read("# H\n\n- a\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\ntext\n" * 60_000)
    assert time.process_time() - started < 30


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="#-*+|`~=> \t\n1.)a:[]", max_size=200))
def test_any_markdown_keeps_its_letters_and_has_blocks(text):
    (page,) = markdown.read(f"x{text}".encode(), Limits(), nothing_within).pages
    assert all(isinstance(block, Block) and block.text for block in page.blocks)
    assert page.text.count("a") == text.count("a")
