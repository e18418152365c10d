"""What a result line says, whatever is missing or wrong in it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.answers import Violation, as_json, escaped, parsed, result_of, unescaped
from tests.delivery.lines import failed, line

STRANGE = st.text(st.characters(exclude_categories=()), max_size=20)
"""Halves of characters, NUL and all else that a text may hold in Python."""
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | STRANGE | st.just("1.5")
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OURS = (
    "tier", "model", "rule", "attempts", "cost_usd", "simulated", "engine_s", "document", "reused", "task", "task_version", "pieces", "fields",
    "violations", "raw",
)  # fmt: skip
FIELDS = st.dictionaries(
    st.sampled_from(["/a", "/b/0", "x", ""]),
    ANY | st.dictionaries(st.sampled_from(["confidence", "page", "box", "found", "review"]), ANY),
)
ANY_LINE = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": ANY,
        "error": ANY | st.fixed_dictionaries({"code": ANY, "message": ANY}),
        "response": ANY
        | st.fixed_dictionaries(
            {"body": ANY | st.fixed_dictionaries({"choices": ANY | st.lists(st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": ANY})}))})}
        ),
        "rightsize": ANY
        | st.fixed_dictionaries({}, optional={name: ANY | FIELDS if name in {"fields", "document"} else ANY for name in OURS}),
    },
)  # fmt: skip


def test_an_answer_in_json_comes_with_its_document_and_its_evidence() -> None:
    told = {"/total": {"confidence": 0.93, "page": 1, "box": [0.1, 0.2, 0.3, 0.4], "found": True, "review": None}}
    result = result_of(line("inv/1.pdf", {"total": 1}, fields=told, reused=True, task="t", task_version=3))
    assert result.answer == {"total": 1}
    assert (result.document.name, result.document.pages, result.document.sources) == ("inv/1.pdf", 2, {"text": 2})
    assert result.fields["/total"].box == (0.1, 0.2, 0.3, 0.4)
    assert (result.cost_usd, result.reused, result.task_version, result.failure) == (Decimal("0.0125"), True, "3", None)


def test_an_answer_in_markdown_is_its_text() -> None:
    result = result_of(line(answer="# Contract\n\n- [a] {b}"))
    assert result.data is None
    assert result.answer == "# Contract\n\n- [a] {b}"


def test_a_failure_tells_what_was_wrong_and_what_the_model_said() -> None:
    wrong = {"violations": [{"pointer": "/date", "message": "no date"}, "junk"], "raw": "{"}
    result = result_of(failed(code="wrong_form", message="Not of that form.", **wrong))
    assert result.failure is not None
    assert (result.failure.code, result.failure.message, result.failure.raw) == ("wrong_form", "Not of that form.", "{")
    assert result.failure.violations == (Violation("/date", "no date"),)
    assert result.answer is None


def test_a_line_of_todays_form_is_named_by_its_custom_id() -> None:
    told = line("a.txt")
    del told["rightsize"]["document"]
    assert result_of(told).document.name == "a.txt"


def test_a_line_that_says_nothing_is_a_failure_and_not_an_empty_answer() -> None:
    failure = result_of({}).failure
    assert failure is not None
    assert failure.code == "unknown"


def test_an_error_within_a_response_is_a_failure_too() -> None:
    told = {
        "response": {"status_code": 400, "body": {"error": {"code": "bad_request", "message": "No."}}},
        "error": None,
    }
    failure = result_of(told).failure
    assert failure is not None
    assert failure.code == "bad_request"


def test_an_answer_of_another_kind_is_no_failure() -> None:
    told = {"response": {"status_code": 200, "body": {"object": "list", "data": [{"embedding": [0.1]}]}}, "error": None}
    assert result_of(told).failure is None


@pytest.mark.parametrize("cost", ["1e-9999999", "-1", "NaN", "Infinity", "1e13", "1" * 50, True, None, [], "x"])
def test_a_cost_that_cannot_be_one_is_not_told(cost: Any) -> None:
    assert result_of(line(cost_usd=cost)).cost_usd is None


def test_numbers_keep_every_digit_on_their_way_through() -> None:
    text = '{"a":1250.00,"b":-5.20,"c":123456789012345678901234567890,"d":0.1234567890123456789,"e":7}'
    assert as_json(parsed(text)) == text


@pytest.mark.parametrize(
    "text",
    ["[" * 101 + "]" * 101, "[" * 5_000_000, '{"a":' * 2_000_000, "[NaN]", "[Infinity]", '{"a":1e99999999999999999999}', "{", '["\ud800', "7", '"x"', ""],
    ids=lambda text: f"{text[:12]!r}",
)  # fmt: skip
def test_what_is_no_json_that_we_read_stays_a_text(text: str) -> None:
    assert parsed(text) is None


def test_brackets_within_texts_are_no_depth() -> None:
    assert parsed('{"a": "' + "[{" * 500 + '\\""}') == {"a": "[{" * 500 + '"'}


def test_half_a_character_never_reaches_a_file() -> None:
    assert as_json(parsed('{"a": "x\\ud800y"}')) == '{"a":"x?y"}'


@given(st.text())
def test_a_key_is_the_same_after_its_way_into_a_pointer(key: str) -> None:
    assert unescaped(escaped(key)) == key
    assert "/" not in escaped(key)


@given(ANY_LINE | ANY)
def test_no_line_is_too_strange_to_be_read(told: Any) -> None:
    result = result_of(told)
    as_json(result.data).encode()
    assert all(
        text.encode() is not None and "\0" not in text
        for text in (result.document.name, result.text, result.tier, result.model)
    )
    assert result.cost_usd is None or 0 <= result.cost_usd < 10**12
    assert all(one.confidence is None or 0 <= one.confidence <= 1 for one in result.fields.values())
