"""A streamed chat becomes events that the official client takes, and that tell the same as the response at their end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState

from orchestrator.responses.answer import from_chat
from orchestrator.responses.events import Events
from tests.responses.canned import call, calls, chunks, says, token
from tests.responses.official import as_event

OWN = "resp_0198c0de"
ASKED = {"input": "Hi"}
Event = dict[str, Any]


def stream(answer: dict[str, Any], choices: Any = None) -> list[Event]:
    """The events of an answer, each of which the client's types and its accumulating helper have taken."""
    events = Events(ASKED, OWN, 1, "fast")
    told = events.begin()
    for one in chunks(answer) if choices is None else choices:
        told += events.piece(one)
    return checked(told + events.end(from_chat(answer, ASKED, OWN, 1)))


def checked(told: list[Event]) -> list[Event]:
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    helper: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in told:
        helper.handle_event(as_event(event))
    return told


def kinds(told: list[Event]) -> list[str]:
    """The kinds of the events in their order, each run of the same kind once."""
    names = [event["type"].removeprefix("response.") for event in told]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def joined(told: list[Event], item: str, kind: str) -> str:
    return "".join(
        event["delta"] for event in told if event["type"] == f"response.{kind}.delta" and event["item_id"] == item
    )


def of_kind(told: list[Event], kind: str) -> list[Event]:
    return [event for event in told if event["type"] == f"response.{kind}"]


def agrees(told: list[Event]) -> None:
    """Deltas, ends of items and the last response tell the same, in the same places."""
    output = told[-1]["response"]["output"]
    ended = of_kind(told, "output_item.done")
    assert [event["item"] for event in sorted(ended, key=lambda event: event["output_index"])] == output
    begun = of_kind(told, "output_item.added")
    assert [(event["output_index"], event["item"]["id"]) for event in begun] == [
        (n, item["id"]) for n, item in enumerate(output)
    ]
    for item in output:
        if item["type"] == "function_call":
            assert joined(told, item["id"], "function_call_arguments") == item["arguments"]
            continue
        for part in item["content"]:
            text = part["refusal" if part["type"] == "refusal" else "text"]
            assert joined(told, item["id"], part["type"]) == text
        parts = [event["part"] for event in of_kind(told, "content_part.done") if event["item_id"] == item["id"]]
        assert parts == item["content"]


def test_a_text_comes_with_every_event_in_order() -> None:
    told = stream(says("It is on its way."))
    assert kinds(told) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["delta"] for event in of_kind(told, "output_text.delta")] == ["It is", " on i", "ts wa", "y."]
    assert told[0]["response"]["status"] == "in_progress"
    assert told[-1]["response"] == from_chat(says("It is on its way."), ASKED, OWN, 1)
    agrees(told)


def test_thought_text_and_calls_are_written_one_after_the_other() -> None:
    answer = calls(
        call("look", '{"city": "Oslo"}', "call_a"),
        call("find", "{}", "call_b"),
        text="Let me see.",
        reasoning="Oslo, then.",
    )
    told = stream(answer)
    assert kinds(told) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    agrees(told)


def test_a_call_without_arguments_is_done_with_none() -> None:
    told = stream(calls(call("look", "")))
    assert kinds(told)[2:] == ["output_item.added", "function_call_arguments.done", "output_item.done", "completed"]
    agrees(told)


def test_a_refusal_is_streamed_as_one() -> None:
    told = stream(says(None, refusal="I cannot do that."))
    assert "refusal.delta" in kinds(told)
    agrees(told)


def test_log_probabilities_come_with_their_piece_of_text() -> None:
    rows = [token("It", -0.1, "He"), token("", -0.2), token(" is", -0.3)]
    told = stream(says("It is", logprobs=rows))
    deltas = of_kind(told, "output_text.delta")
    assert deltas[0]["logprobs"] == [
        {"token": "It", "logprob": -0.1, "top_logprobs": [{"token": "He", "logprob": -2.5}]}
    ]
    assert [len(event["logprobs"]) for event in deltas] == [1, 1, 1]
    assert len(of_kind(told, "output_text.done")[0]["logprobs"]) == 3
    agrees(told)


def test_each_log_probability_comes_once_however_much_of_it_was_streamed() -> None:
    answer = says("It is", logprobs=[token("It"), token(""), token(" is")])
    for kept in range(5):
        told = stream(answer, list(chunks(answer))[:kept])
        rows = [row["token"] for event in of_kind(told, "output_text.delta") for row in event["logprobs"]]
        assert rows == ["It", "", " is"]
        agrees(told)


def test_an_answer_that_was_not_streamed_gives_the_same_events_at_once() -> None:
    answer = calls(call("look", "{}"), text="Let me see.", reasoning="Hm.")
    told = stream(answer, [])
    assert kinds(told) == kinds(stream(answer))
    agrees(told)


def test_what_is_recorded_beyond_what_was_streamed_follows_before_the_end() -> None:
    whole = calls(call("look", '{"at": 1}'), text="Let me see.")
    told = stream(whole, list(chunks(says("Let me"))))
    agrees(told)
    midway = [*chunks(says("Let me see.")), [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"a'}}]}}]]  # fmt: skip
    agrees(stream(whole, midway))


def test_the_recorded_answer_has_the_last_word() -> None:
    told = stream(says('{"topic": "refund"}'), list(chunks(says('{"topic": "fish"}'))))
    assert joined(told, "msg_0198c0de", "output_text") == '{"topic": "fish"}'
    assert of_kind(told, "output_text.done")[0]["text"] == '{"topic": "refund"}'
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == '{"topic": "refund"}'


def test_an_item_that_is_not_recorded_in_the_end_is_closed_all_the_same() -> None:
    told = stream(calls(call("look", "{}")), list(chunks(says("Let me"))))
    assert [event["item"]["type"] for event in of_kind(told, "output_item.done")] == ["message", "function_call"]
    assert [item["type"] for item in told[-1]["response"]["output"]] == ["function_call"]


def test_items_stand_in_the_order_in_which_they_were_streamed() -> None:
    answer = calls(call("look", "{}"), text="I looked.")
    first, *rest = chunks(calls(call("look", "{}")))
    told = stream(answer, [first, *rest, *chunks(says("I looked."))])
    assert [item["type"] for item in told[-1]["response"]["output"]] == ["function_call", "message"]
    agrees(told)


def test_a_call_keeps_the_id_that_was_told_first() -> None:
    streamed = list(chunks(calls(call("look", "{}", "call_early"))))
    told = stream(calls(call("look", "{}", "call_late")), streamed)
    assert told[-1]["response"]["output"][0]["call_id"] == "call_early"
    agrees(told)


def test_a_call_that_was_not_streamed_never_takes_the_id_of_one_that_was() -> None:
    recorded = calls(call("look", "{}", "call_late"), call("find", "{}", "call_early"))
    told = stream(recorded, list(chunks(calls(call("look", "{}", "call_early")))))
    assert [item["call_id"] for item in told[-1]["response"]["output"]] == ["call_early", "call_fc_0198c0de_1"]
    agrees(told)


def test_calls_that_one_server_numbers_from_one_or_names_twice_are_told_apart() -> None:
    def piece(index: int, arguments: str, **more: Any) -> list[dict[str, Any]]:
        return [
            {
                "index": 0,
                "delta": {"tool_calls": [{"index": index, "function": {"arguments": arguments, **more}, "id": "call"}]},
            }
        ]

    streamed = [piece(1, "", name="look"), piece(1, "{}", name="look"), piece(7, "{}", name="find")]
    told = stream(calls(call("look", "{}", "call"), call("find", "{}", "call")), streamed)
    assert [item["call_id"] for item in told[-1]["response"]["output"]] == ["call", "call_fc_0198c0de_1"]
    agrees(told)


def test_what_comes_late_for_an_item_that_is_done_is_in_the_response() -> None:
    late = [*chunks(says("Let me")), *chunks(calls(call("look", "{}"))), *chunks(says(" see."))]
    told = stream(calls(call("look", "{}"), text="Let me see."), late)
    assert joined(told, "msg_0198c0de", "output_text") == "Let me"
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "Let me see."


def test_only_the_first_choice_is_told() -> None:
    told = stream(says("a"), [[{"index": 1, "delta": {"content": "b"}}], [{"index": 0, "delta": {"content": "a"}}]])
    assert joined(told, "msg_0198c0de", "output_text") == "a"


def test_an_answer_that_was_cut_ends_as_incomplete() -> None:
    told = stream(says("It is", finish="length"))
    assert told[-1]["type"] == "response.incomplete"
    assert told[-2]["item"]["status"] == "incomplete"
    agrees(told)


@pytest.mark.parametrize(
    "code, told_code",
    [("connection_lost", "server_error"), ("rate_limited", "rate_limit_exceeded"), ("bad_picture", "invalid_image"),
     ("context_length_exceeded", "invalid_prompt"), (None, "server_error")],
)  # fmt: skip
def test_a_failure_says_why_and_what_was_written(code: str | None, told_code: str) -> None:
    events = Events(ASKED, OWN, 1, "fast")
    told = events.begin()
    for one in list(chunks(says("It is on its way.", reasoning="Hm.")))[:5]:
        told += events.piece(one)
    told = checked(told + events.failed({"message": "The worker is gone.", "type": "server_error", "code": code}))
    assert (told[-2]["type"], told[-2]["code"], told[-2]["message"]) == ("error", code, "The worker is gone.")
    failed = told[-1]["response"]
    assert (told[-1]["type"], failed["status"]) == ("response.failed", "failed")
    assert failed["error"] == {"code": told_code, "message": "The worker is gone."}
    assert [item["status"] for item in failed["output"]] == ["completed", "incomplete"]
    assert failed["output"][1]["content"][0]["text"] == joined(told, "msg_0198c0de", "output_text")


TEXTS = st.text(max_size=30)
NAMES = st.sampled_from(["look", "find"])


@given(
    text=TEXTS,
    thought=TEXTS,
    refusal=st.none() | TEXTS,
    made=st.lists(st.builds(call, NAMES, TEXTS, st.sampled_from(["call_1", "call_2", ""])), max_size=3),
    size=st.integers(1, 40),
    kept=st.integers(0, 40),
    finish=st.sampled_from(["stop", "length"]),
)
def test_deltas_and_the_last_response_agree_however_much_of_it_was_streamed(
    text: str, thought: str, refusal: str | None, made: list[dict[str, Any]], size: int, kept: int, finish: str
) -> None:
    answer = says(text, finish=finish, reasoning=thought, refusal=refusal, tool_calls=made or None)
    agrees(stream(answer, list(chunks(answer, size))[:kept]))
