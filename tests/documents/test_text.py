"""A text file as one request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.documents.rows import RowOptions, rows_of


def row(folder: Path, data: bytes, name: str = "a.txt", options: RowOptions | None = None) -> dict[str, Any]:
    (folder / name).write_bytes(data)
    (line,) = rows_of(folder / name, options)
    return json.loads(line)


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "a.md", "a.rst", "a.json", "a.log"])
def test_the_text_is_the_question_and_the_instructions_stand_before_it(tmp_path, name):
    made = row(tmp_path, b"\xef\xbb\xbfOne\r\ntwo\rthree \xe2\x82\xac", name, RowOptions(instructions="Sum up."))
    assert made["body"]["messages"] == [
        {"role": "system", "content": "Sum up."},
        {"role": "user", "content": "One\ntwo\nthree €"},
    ]


def test_utf16_with_a_mark_is_text(tmp_path):
    assert row(tmp_path, "Grüße".encode("utf-16"))["body"]["messages"][0]["content"] == "Grüße"


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (b" \n\t ", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"caf\xe9 au lait", "unreadable_file"),
        (b"\x7fELF\x00\x00", "unreadable_file"),
        (b"\xff\xfeA", "unreadable_file"),
        (b"x" * 101, "text_too_long"),
        (("€" * 101).encode(), "text_too_long"),
        (b"x" * 1_000_000, "text_too_long"),
    ],
)
def test_what_is_no_text_or_too_much_says_so(tmp_path, data, code):
    error = row(tmp_path, data, options=RowOptions(max_input_chars=100))["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")


def test_a_text_of_exactly_the_limit_is_read(tmp_path):
    made = row(tmp_path, ("€" * 100).encode(), options=RowOptions(max_input_chars=100))
    assert made["body"]["messages"][0]["content"] == "€" * 100
