"""Results find their place in the input, whatever its rows are called."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.ordering import Names, Spool, result_files


def names(content: bytes, size: int) -> list[tuple[str, ...]]:
    reading = Names()
    found = [
        one for at in range(0, len(content), size) for one in reading.feed(content[at : at + size])
    ]  # fmt: skip
    return found + reading.end()


def test_rows_are_named_by_their_custom_id_and_else_by_their_line() -> None:
    content = b'\xef\xbb\xbf{"custom_id":"a"}\r\n\n  \n{"custom_id":7}\n[1]\n{broken\n{"custom_id":"a"}'
    for size in (1, 7, 1000):
        assert [one[:2] for one in names(content, size)] == [
            ("a", "line-1"),
            ("line-4", "line-4-again"),
            ("line-5", "line-5-again"),
            ("line-6", "line-6-again"),
            ("a", "line-7"),
        ]


@given(st.lists(st.text(max_size=5), max_size=40), st.randoms(use_true_random=False), st.integers(1, 200))
def test_every_result_is_given_back_once_in_the_order_of_the_input(ids: list[str], dice, size: int) -> None:
    own = list(dict.fromkeys(ids))
    content = b"".join(orjson.dumps({"custom_id": one}) + b"\n" for one in own)
    results = [orjson.dumps({"custom_id": one, "n": place}) for place, one in enumerate(own)]
    dice.shuffle(results)
    with Spool() as spool:
        spool.put(results)
        found = spool.take(names(content, size))
        assert spool.rest() == []
    assert [one["custom_id"] for one in found] == own


def test_what_no_row_asked_for_comes_last_and_a_name_that_is_there_twice_is_given_twice() -> None:
    lines = [orjson.dumps({"custom_id": one, "n": n}) for n, one in enumerate(["x", "b", "a", "b"])]
    with Spool() as spool:
        spool.put(lines)
        taken = spool.take([("a",), ("b",), ("none",)])
        rest = spool.rest()
        assert spool.rest() == []
    assert [one["n"] for one in taken] == [2, 1]
    assert [one["n"] for one in rest] == [0, 3]


def test_the_merged_output_stands_for_that_of_the_retried_batch() -> None:
    batch = {"output_file_id": "file_1", "error_file_id": "file_2", "rightsize": {"merged_output_file_id": "file_3"}}
    assert result_files(batch) == ["file_3", "file_2"]
    assert result_files({"output_file_id": None, "error_file_id": "file_2", "rightsize": {}}) == ["file_2"]
