"""A chat's answer becomes a response that the official client's types take, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import Broken
from orchestrator.responses.answer import from_chat
from tests.responses.canned import call, calls, says, token
from tests.responses.official import as_response

OWN = "resp_0198c0de"


def response(answer: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """The response, which the client's types have taken."""
    made = from_chat(answer, {"input": "Hi", **asked}, OWN, 1_790_000_000)
    as_response(made)
    return made


def test_an_answer_has_its_text_its_usage_and_what_was_asked() -> None:
    schema = {"type": "json_schema", "name": "topic", "schema": {"type": "object"}, "description": None}
    made = response(
        says("{}"), instructions="Be brief.", metadata={"order": "1041"}, temperature=0.3, max_output_tokens=50, user="u",
        text={"format": schema}, tools=[{"type": "function", "name": "look"}], tool_choice="none", parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"}, prompt_cache_key="k", safety_identifier="s", top_logprobs=2,
    )  # fmt: skip
    read = as_response(made)
    assert (read.id, read.object, read.created_at, read.status, read.model) == (
        OWN,
        "response",
        1_790_000_000,
        "completed",
        "fast",
    )
    assert made["output"] == [
        {"id": "msg_0198c0de", "type": "message", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "annotations": [], "logprobs": [], "text": "{}"}]}
    ]  # fmt: skip
    assert made["usage"] == {
        "input_tokens": 36, "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 0},
        "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 123,
    }  # fmt: skip
    echoed = {"instructions": "Be brief.", "metadata": {"order": "1041"}, "temperature": 0.3, "max_output_tokens": 50, "user": "u",
              "tool_choice": "none", "parallel_tool_calls": False, "prompt_cache_key": "k", "safety_identifier": "s",
              "top_logprobs": 2, "reasoning": {"effort": "low", "summary": None}}  # fmt: skip
    assert {name: made[name] for name in echoed} == echoed
    assert made["text"]["format"] == {"type": "json_schema", "name": "topic", "schema": {"type": "object"}}
    assert made["tools"] == [
        {"type": "function", "name": "look", "description": None, "parameters": None, "strict": None}
    ]


def test_where_nothing_was_asked_the_response_says_what_holds() -> None:
    made = response(says())
    holds = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {}, "truncation": "disabled",
             "text": {"format": {"type": "text"}, "verbosity": "medium"}, "service_tier": "default", "store": True,
             "background": False, "temperature": None, "error": None, "incomplete_details": None}  # fmt: skip
    assert {name: made[name] for name in holds} == holds


def test_thought_text_and_calls_are_items_in_this_order() -> None:
    answer = calls(call("look", '{"at":1}', "call_a"), call("find", "", "call_b"), text="Let me see.", reasoning="Hm.")
    output = response(answer)["output"]
    assert [(item["type"], item["id"]) for item in output] == [
        ("reasoning", "rs_0198c0de"),
        ("message", "msg_0198c0de"),
        ("function_call", "fc_0198c0de_0"),
        ("function_call", "fc_0198c0de_1"),
    ]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[2:]] == [
        ("call_a", "look", '{"at":1}'),
        ("call_b", "find", ""),
    ]


def test_calls_alone_come_without_a_message() -> None:
    assert [item["type"] for item in response(calls(call("look", "{}"), text=""))["output"]] == ["function_call"]


def test_calls_with_one_id_or_none_are_told_apart() -> None:
    output = response(calls(call("look", "{}", "call"), call("look", "{}", "call"), call("look", "{}", "")))["output"]
    assert [item["call_id"] for item in output] == ["call", "call_fc_0198c0de_1", "call_fc_0198c0de_2"]


def test_a_refusal_is_a_part_of_its_own() -> None:
    parts = response(says(None, refusal="I cannot."))["output"][0]["content"]
    assert parts == [{"type": "refusal", "refusal": "I cannot."}]


def test_an_empty_answer_is_an_empty_text() -> None:
    assert response(says(""))["output"][0]["content"][0]["text"] == ""


@pytest.mark.parametrize("finish, reason", [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete_and_says_why(finish: str, reason: str) -> None:
    made = response(says("It is", finish=finish, reasoning="Hm."))
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in made["output"]] == ["completed", "incomplete"]


def test_an_answer_whose_stream_was_cut_is_incomplete() -> None:
    made = response({**says("It is"), "rightsize_cut": True})
    assert (made["status"], made["incomplete_details"], made["rightsize_cut"]) == ("incomplete", {"reason": None}, True)


def test_what_is_ours_stays_and_nothing_else_of_the_chat() -> None:
    ours = {"rightsize": {"tier": "llm"}, "rightsize_simulated": {"speed": 1.0}, "rightsize_vote": {"samples": 3}}
    made = response({**says(), **ours, "system_fingerprint": "x"})
    assert {name: value for name, value in made.items() if name.startswith("rightsize")} == ours
    assert "system_fingerprint" not in made
    assert "choices" not in made


def test_log_probabilities_have_the_bytes_that_the_client_needs() -> None:
    made = response(says("é!", logprobs=[token("é", -0.25, "e"), {**token("\\xe2"), "bytes": [226]}]))
    first, second = made["output"][0]["content"][0]["logprobs"]
    assert first == {
        "token": "é", "bytes": [195, 169], "logprob": -0.25, "top_logprobs": [{"token": "e", "bytes": [101], "logprob": -2.5}],
    }  # fmt: skip
    assert second["bytes"] == [226]


def test_answers_of_servers_with_manners_of_their_own_are_read() -> None:
    odd = {"type": "function", "function": {"name": "look", "arguments": {"at": "é"}}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"]
    answer = says(
        parts, tool_calls=[odd, "x", {"function": None}, call("", "{}")], reasoning_content="Hm.", logprobs="x"
    )  # type: ignore[arg-type]
    del answer["usage"]
    made = response(answer)
    assert [item["type"] for item in made["output"]] == ["reasoning", "message", "function_call"]
    assert made["output"][1]["content"][0]["text"] == "ab"
    assert made["output"][2]["arguments"] == '{"at":"é"}'
    assert made["usage"]["total_tokens"] == 0


def test_an_answer_without_a_message_is_a_fault_of_ours() -> None:
    with pytest.raises(Broken, match="rightsize doctor"):
        from_chat({"choices": []}, {}, OWN, 1)
