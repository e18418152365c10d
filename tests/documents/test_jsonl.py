"""Rows of JSONL: batch rows pass as they are, plain rows become requests, everything else says why it cannot."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.documents.rows import RowOptions, rows_of

BATCH_ROW = (
    b'{"custom_id": "a-1",  "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"messages": [{"role": "user", "content": "Hi"}]}}'
)


def lines(data: bytes, options: RowOptions | None = None) -> list[bytes]:
    return list(rows_of(Path("-"), options, stdin=io.BytesIO(data)))


def rows(data: bytes, options: RowOptions | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(data, options)]


def errors(data: bytes, options: RowOptions | None = None) -> list[tuple[str, str]]:
    return [(row["custom_id"], row["error"]["code"]) for row in rows(data, options)]


def test_a_batch_row_passes_byte_for_byte_whatever_the_options_say():
    assert lines(BATCH_ROW + b"\r\n", RowOptions(task="triage", instructions="No.")) == [BATCH_ROW]


def test_a_byte_order_mark_is_no_part_of_the_first_row():
    assert lines(b"\xef\xbb\xbf" + BATCH_ROW) == [BATCH_ROW]


@pytest.mark.parametrize(
    "row", [{"text": "Where is it?"}, {"prompt": "Where is it?"}, {"question": "Where is it?"}, "Where is it?"]
)
def test_a_plain_row_becomes_a_request_with_the_options_of_the_caller(row):
    options = RowOptions(task="triage", tier="auto", stakes="high", instructions="Answer in one word.")
    assert rows(json.dumps(row).encode(), options) == [
        {
            "custom_id": "stdin#1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "auto",
                "messages": [
                    {"role": "system", "content": "Answer in one word."},
                    {"role": "user", "content": "Where is it?"},
                ],
                "rightsize": {"task": "triage", "tier": "auto", "stakes": "high"},
            },
        }
    ]


def test_a_rows_own_hints_and_parameters_win_and_its_other_columns_stay_out():
    row = {"id": 7, "text": "Hi", "max_tokens": 5, "colour": "red", "rightsize": {"stakes": "low"}}
    (made,) = rows(json.dumps(row).encode(), RowOptions(task="triage", stakes="high"))
    assert made["custom_id"] == "7"
    assert made["body"] == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "rightsize": {"task": "triage", "stakes": "low"},
    }


def test_the_right_answer_and_the_labels_travel_as_metadata_and_never_in_the_prompt():
    (made,) = rows(b'{"text": "Hi", "expected": "greeting", "labels": ["greeting", "other"]}')
    assert made["body"]["metadata"] == {"expected": "greeting", "labels": "greeting,other"}
    assert made["body"]["messages"] == [{"role": "user", "content": "Hi"}]


def test_messages_keep_their_own_system_message():
    own = {"messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi"}]}
    (made,) = rows(json.dumps(own).encode(), RowOptions(instructions="Yours."))
    assert made["body"]["messages"] == own["messages"]


def test_every_endpoint_gets_its_own_form_of_body():
    (classified,) = rows(b'"Hi"', RowOptions(endpoint="/v1/classify"))
    assert classified["body"] == {"model": "auto", "input": "Hi"}
    (scored,) = rows(b'{"id": 7, "queries": "a", "documents": ["b"]}', RowOptions(endpoint="/v1/score"))
    assert scored["body"] == {"model": "auto", "queries": "a", "documents": ["b"]}
    for line in (b'"Hi"', b'{"queries": "a"}'):
        (unfit,) = rows(line, RowOptions(endpoint="/v1/score"))
        assert "`documents`" in unfit["error"]["message"] or '"documents"' in unfit["error"]["message"]
    (embedding,) = rows(b'"Hi"', RowOptions(endpoint="/v1/embeddings"))
    (completion,) = rows(b'"Hi"', RowOptions(endpoint="/v1/completions", instructions="Short."))
    assert embedding["body"] == {"model": "auto", "input": "Hi"}
    assert completion["body"] == {"model": "auto", "prompt": "Short.\n\nHi"}


@pytest.mark.parametrize(
    "row",
    [
        b"not json",
        b'{"text": "cut',
        b"[1, 2]",
        b"null",
        b"17",
        b'{"text": 5}',
        b'{"text": "  "}',
        b'{"other": "x"}',
        b'{"messages": []}',
        b'{"messages": ["x"]}',
        b'{"messages": [{"role": ["x"], "content": "y"}]}',
        b'{"text": "x", "rightsize": 5}',
        b'{"text": "x", "rightsize": {"stakes": "enormous"}}',
        b'{"text": "x", "temperature": 99}',
        b'{"text": NaN}',
        b'{"text": "\\ud800"}',
        b'{"text": "\xff"}',
        b"\x00\x01\x02",
        b"[" * 100_000,
        b'{"text": "x", "metadata": ' + b"[" * 80 + b"]" * 80 + b"}",
        b'{"body": {}}',
        b'{"custom_id": "", "method": "POST", "url": "/v1/chat/completions", "body": {}}',
        b'{"custom_id": "a", "method": "GET", "url": "/v1/chat/completions", "body": {}}',
        b'{"custom_id": "a", "method": "POST", "url": "/v1/else", "body": {}}',
        b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": []}',
        b'{"custom_id": "a\\nb", "method": "POST", "url": "/v1/chat/completions", "body": {}}',
        b'{"custom_id": "x", "error": {"code": "planted"}}',
    ],
)
def test_a9_a_malformed_row_becomes_an_error_with_its_line_and_its_neighbours_stay(row):
    first, bad, last = rows(b'"before"\n' + row + b'\n"after"\n')
    assert bad["error"]["code"] == "malformed_row"
    assert "ine 2" in bad["error"]["message"]
    assert [first["body"]["messages"][0]["content"], last["body"]["messages"][0]["content"]] == ["before", "after"]


def test_a9_blank_lines_are_no_rows_but_count_as_lines():
    assert [row["custom_id"] for row in rows(b'\n  \n"a"\n\n\t\n"b"')] == ["stdin#3", "stdin#6"]


def test_a9_ten_thousand_blank_lines_and_no_row_are_an_empty_file():
    assert errors(b"\n" * 10_000) == [("stdin", "empty_file")]
    assert errors(b"") == [("stdin", "empty_file")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a9_lines_may_end_in_any_way(end):
    assert [row["custom_id"] for row in rows(end.join([b'"a"', b'"b"', b'"c"']))] == ["stdin#1", "stdin#2", "stdin#3"]


def test_a9_line_ends_cut_by_the_edge_of_a_piece_are_one():
    data = b"".join(b'"%s"\r\n' % (b"x" * size) for size in range(65_500, 65_560))
    assert [row["custom_id"] for row in rows(data)] == [f"stdin#{number}" for number in range(1, 61)]


class Endless(io.RawIOBase):
    """One line of a gigabyte, then a short one."""

    def __init__(self) -> None:
        self.left = 1024**3

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.left > 0:
            self.left -= size
            return b"x" * size
        self.left -= 1
        return b'\n"after"\n' if self.left == -1 else b""


def test_a9_a_line_of_a_gigabyte_is_refused_in_bounded_memory_and_the_next_is_read():
    tracemalloc.start()
    try:
        made = [json.loads(line) for line in rows_of(Path("-"), RowOptions(max_row_bytes=1024**2), stdin=Endless())]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row.get("error", {}).get("code") for row in made] == ["row_too_large", None]
    assert made[1]["custom_id"] == "stdin#2"
    assert peak < 8 * 1024**2


def test_a_repeated_id_of_a_batch_row_is_an_error_and_the_first_one_stays():
    first, second = lines(BATCH_ROW + b"\n" + BATCH_ROW)
    assert first == BATCH_ROW
    assert json.loads(second)["custom_id"] == "stdin#2"
    assert json.loads(second)["error"]["code"] == "duplicate_custom_id"


def test_repeated_ids_of_plain_rows_are_told_apart_by_their_lines():
    made = rows(b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    assert [row["custom_id"] for row in made] == ["a", "stdin#2"]


def test_a_text_over_the_limit_is_refused_and_never_cut():
    assert errors(b'"' + b"x" * 11 + b'"', RowOptions(max_input_chars=10)) == [("stdin#1", "text_too_long")]


KEYS = [
    "text",
    "messages",
    "body",
    "url",
    "method",
    "custom_id",
    "id",
    "role",
    "content",
    "rightsize",
    "labels",
    "stop",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_whatever_comes_every_line_out_is_json_with_an_id_of_its_own(parts):
    made = [orjson.loads(line) for line in lines(b"\n".join(parts))]
    ids = [row["custom_id"] for row in made]
    assert made
    assert len(set(ids)) == len(ids)
    assert all(
        0 < len(custom_id) <= 512 and ("error" in row or "body" in row)
        for custom_id, row in zip(ids, made, strict=True)
    )


def test_a_row_with_nul_keeps_its_id_and_hints_beside_the_body_are_refused():
    assert errors(b'{"custom_id": "x1", "text": "a\\u0000b"}') == [("x1", "malformed_row")]
    beside = BATCH_ROW[:-1] + b', "rightsize": {"tier": "slm"}}'
    assert errors(beside) == [("a-1", "malformed_row")]
