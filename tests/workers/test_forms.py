"""Every answer has the form that was asked for, or the job says why not; and what it took is counted to the token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidRequest
from orchestrator.structured import form_of, problems
from tests.workers.engines.build import chat
from tests.workers.scripted import Scripted
from workers import deliberation, forms
from workers.deliberation import Wanted

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}


def answered(engine: Scripted, **body: Any) -> Answer:
    return asyncio.run(forms.perform(engine, chat("How many?", **body)))


def content(answer: Answer) -> str:
    return str(answer.body["choices"][0]["message"]["content"])


def test_an_answer_of_the_right_form_is_asked_for_once() -> None:
    engine = Scripted(['{"n": 3}'])
    assert content(answered(engine, **FORM)) == '{"n": 3}'
    assert len(engine.asked) == 1


def test_a_wrong_answer_is_mended_once_with_its_errors_quoted_and_both_are_counted() -> None:
    engine = Scripted(['{"n": "three"}', '{"n": 3}'])
    answer = answered(engine, **FORM)
    assert content(answer) == '{"n": 3}'
    *_, wrong, asked = engine.asked[1]["messages"]
    assert wrong == {"role": "assistant", "content": '{"n": "three"}'}
    assert 'n: "three" is not of type "integer"' in asked["content"]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 10)
    assert answer.body["usage"]["completion_tokens"] == 10


def test_an_answer_that_stays_wrong_fails_with_the_reason_and_what_it_took() -> None:
    engine = Scripted(["three", "3"])
    with pytest.raises(forms.WrongForm, match='the whole: 3 is not of type "object"') as caught:
        answered(engine, **FORM)
    assert not caught.value.retryable
    assert caught.value.usage.output_tokens == 10


def test_an_answer_that_was_cut_is_not_asked_for_again() -> None:
    engine = Scripted([{"message": {"role": "assistant", "content": '{"n": '}, "finish_reason": "length"}])
    with pytest.raises(forms.WrongForm, match="max_tokens"):
        answered(engine, **FORM)
    assert len(engine.asked) == 1


def test_a_call_of_a_tool_has_no_form_of_its_own() -> None:
    call = {"message": {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}}
    assert answered(Scripted([call]), **FORM).body["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize(
    "body",
    [
        {"structured_outputs": {"regex": "(a+)+(?=b)"}},
        {"structured_outputs": {"regex": "((a{1000}){1000}){1000}"}},
        {"structured_outputs": {"choice": []}},
        {"structured_outputs": {"choice": ["a"], "regex": "b"}},
        {"structured_outputs": {"json": {"type": "strange"}}},
        {"structured_outputs": {"json": {"$ref": "http://127.0.0.1:9/schema"}}},
        {"structured_outputs": {"json": {"type": "array", "maxItems": 10**9}}},
        {"structured_outputs": {"json": {"properties": {"a": {"pattern": "(x+x+)+y\\1"}}}}},
        {"structured_outputs": {"grammar": "g" * 30_000}},
        {"structured_outputs": "json"},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_object"}, "structured_outputs": {"choice": ["a"]}},
        {"structured_outputs": {"json": {"const": "x" * 70_000}}},
    ],
    ids=str,
)
def test_a16_a_form_that_nobody_can_hold_to_is_refused_with_a_remedy(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        form_of(body)
    assert caught.value.param in ("response_format", "structured_outputs")


def test_a16_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="deep"):
        form_of({"structured_outputs": {"json": schema}})


@pytest.mark.parametrize("text", ['{"n": NaN}', '{"n": 1} more', "", "[1", '{"n": 1.5}', '{"n": 1, "m": 2}'])
def test_what_a_lenient_reader_would_take_is_a_problem(text: str) -> None:
    form = form_of(FORM)
    assert form is not None
    assert problems(text, form)


def vote(says: list[Any], *, samples: int, how: str = "majority", structured: bool = False) -> tuple[Answer, Scripted]:
    engine = Scripted(says, structured=structured)
    wanted = Wanted(samples=samples, vote=how)
    return asyncio.run(deliberation.perform(engine, chat("Which?"), wanted)), engine


def test_the_majority_wins_whatever_its_blanks_and_the_order_of_its_keys() -> None:
    answer, engine = vote(['{"b": 1, "a": 2}', "other", '{"a":2,"b":1}'], samples=3)
    assert content(answer) == '{"b": 1, "a": 2}'
    assert answer.body["rightsize_vote"] == {"samples": 3, "answered": 3, "agreeing": 2, "vote": "majority"}
    assert answer.usage.output_tokens == 15
    assert all(body["temperature"] == 0.7 for body in engine.asked)


def test_a_sample_that_fails_leaves_the_others() -> None:
    fault = EngineFault("busy", code="busy", retryable=True)
    answer, _ = vote(["left", fault, "left"], samples=3)
    assert answer.body["rightsize_vote"]["answered"] == 2
    with pytest.raises(EngineFault, match="busy"):
        vote([fault, fault], samples=2)


def test_a_judge_is_asked_only_where_samples_differ_and_is_counted() -> None:
    answer, engine = vote(["left", "right", "2"], samples=2, how="judge", structured=True)
    assert content(answer) == "right"
    assert engine.asked[2]["structured_outputs"] == {"choice": ["1", "2"]}
    assert answer.usage.output_tokens == 15
    agreed, engine = vote(["left", "left"], samples=2, how="judge")
    assert len(engine.asked) == 2
    assert agreed.body["rightsize_vote"]["agreeing"] == 2


def test_a_judge_that_names_no_answer_is_a_fault_that_may_pass() -> None:
    with pytest.raises(EngineFault, match="judge") as caught:
        vote(["left", "right", "neither"], samples=2, how="judge")
    assert caught.value.retryable
