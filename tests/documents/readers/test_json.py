"""JSON and JSON Lines files."""

from __future__ import annotations

import contextlib
import json as library
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.documents.readers import json
from orchestrator.documents.reading import Limits, Unreadable
from tests.documents.readers.made import nothing_within


def shown(data: str | bytes) -> str:
    """The text within the fences."""
    data = data.encode() if isinstance(data, str) else data
    (page,) = json.read(data, Limits(), nothing_within).pages
    assert all(block.kind == "code" for block in page.blocks)
    return "\n".join(line for line in page.text.split("\n") if not line.startswith("```") and line)


def test_json_is_indented_and_keeps_numbers_keys_and_their_order():
    assert shown('{"b":1.10,"a":[1,2e400,123456789012345678901],"b":{}, "c":[]}') == (
        '{\n  "b": 1.10,\n  "a": [\n    1,\n    2e400,\n    123456789012345678901\n  ],\n  "b": {},\n  "c": []\n}'
    )


def test_letters_written_as_numbers_are_shown_as_letters():
    assert shown(r'{"caf\u00e9": "\ud83d\ude00 \u0000 \ud800"}') == (
        '{\n  "café": "' + r"\ud83d\ude00 \u0000 \ud800" + '"\n}'
    )
    assert shown(r'["\u0041\n\"\u00e9\""]') == '[\n  "A\\n\\"é\\""\n]'


def test_what_is_no_json_stays_as_text():
    assert shown("{a: NaN, // why\n b: -Infinity") == "{\n  a: NaN,\n  // why b: -Infinity"


def test_brackets_in_brackets_stay_on_one_line_below_a_depth():
    started = time.process_time()
    text = shown("[" * 100_000 + "1" + "]" * 100_000)
    assert text.count("[") == text.count("]") == 100_000
    assert text.count("\n") < 100
    assert time.process_time() - started < 30


def test_a_long_array_is_cut_into_blocks():
    (page,) = json.read(library.dumps(list(range(1_000))).encode(), Limits(), nothing_within).pages
    assert len(page.blocks) == 6
    assert all(block.text.startswith("```json\n") and block.text.endswith("\n```") for block in page.blocks)


def test_strings_cannot_close_the_fence():
    text = json.read(b'["```", "\\n````"]', Limits(), nothing_within).text
    assert text.split("\n")[0] == "`````json"
    assert text.split("\n")[-1] == "`````"


def test_each_record_of_json_lines_is_a_line():
    reading = json.read(b'{"a": 1, "b": "\\u00e9"}\r\n\n{"a": 2}\n', Limits(), nothing_within)
    assert reading.kind == "jsonl"
    assert reading.text == '```json\n{"a": 1, "b": "é"}\n{"a": 2}\n```'


def test_a_large_file_is_read_within_seconds():
    data = library.dumps([{"id": n, "name": f"name {n}", "tags": ["a", "b"]} for n in range(60_000)]).encode()
    started = time.process_time()
    json.read(data, Limits(), nothing_within)
    assert time.process_time() - started < 30


@pytest.mark.parametrize(
    "text",
    ['"' + '\\"' * 1_000_000, '"a' * 1_000_000, "{" + '"a":' * 500_000, "\\" * 2_000_000, '["' + "\\u" * 500_000],
)
def test_strings_made_to_take_long_do_not(text):
    started = time.process_time()
    shown(text)
    assert time.process_time() - started < 30


def test_an_empty_file_is_refused():
    with pytest.raises(Unreadable):
        shown(b" ")


LETTERS = st.text(st.characters(exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=5)


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | LETTERS,
        lambda inner: st.lists(inner) | st.dictionaries(LETTERS, inner),
    )
)
def test_what_is_shown_is_still_the_same_json(value):
    data = library.dumps(value)
    (page,) = json.read(data.encode(), Limits(), nothing_within).pages
    inner = "\n".join("\n".join(block.text.split("\n")[1:-1]) for block in page.blocks)
    assert library.loads(inner) == value


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_reading_or_are_refused(data):
    for start in (b'{"a": [1, "', b'{"a": 1}\n{"b": 2}\n'):
        with contextlib.suppress(Unreadable):
            json.read(start + data, Limits(), nothing_within)
