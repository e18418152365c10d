"""A text file as one request."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Limits
from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.documents.small import SMALL_BYTES, read_small


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


@pytest.mark.parametrize(
    "data",
    [
        "Grüße".encode("utf-16"),
        "Grüße aus Köln".encode("utf-16-le"),
        "Déjà vu à la fenêtre, près de la forêt, où les élèves étaient".encode("cp1252"),
    ],
)
def test_text_of_other_encodings_is_text(tmp_path, data):
    made = row(tmp_path, data)["body"]["messages"][0]["content"]
    assert made in ("Grüße", "Grüße aus Köln", "Déjà vu à la fenêtre, près de la forêt, où les élèves étaient")


def test_a_small_text_is_read_as_the_pool_reads_it(tmp_path):
    names = {"a.txt": "One\r\n\r\n\r\ntwo \u200b\n", "a.md": "# Title\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"}
    names |= {"a.json": '{"b": [1, 2.50], "a": null}', "a.log": '{"x": 1}\n{"y": [2]}\n', "none": "\ufeffplain"}
    with Pool(children=1) as pool:
        for name, text in names.items():
            small = read_small(text.encode(), name, Limits())
            assert small == pool.read(io.BytesIO(text.encode()), name), name
            made = row(tmp_path, text.encode(), name)["body"]["messages"][0]["content"]
            assert small is not None
            assert made == small.text


@pytest.mark.parametrize(
    "data, name",
    [
        (b"x" * (SMALL_BYTES + 1), "a.txt"),
        (b"caf\xe9", "a.txt"),
        (b"a\0b", "a.txt"),
        (b"<!doctype html><p>x", "a.txt"),
        (b"%PDF-1.4\n1 0 obj\n%%EOF", "a.txt"),
    ],
)
def test_what_is_not_small_plain_text_is_left_to_the_pool(data, name):
    assert read_small(data, name, Limits()) is None


def test_a_text_larger_than_small_is_read_as_well(tmp_path):
    paragraph = "Some words of a long report. " * 20
    made = row(tmp_path, "\n\n".join([paragraph.strip()] * 200).encode())
    assert made["body"]["messages"][0]["content"].count(paragraph.strip()) == 200


@pytest.mark.parametrize(
    "data, code",
    [
        (b"", "empty_file"),
        (b" \n\t ", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"\x7fELF\x00\x00", "unsupported_file"),
        (b"{\\rtf1 text}", "unsupported_file"),
        (b"a\0b\1c\2", "unsupported_file"),
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
