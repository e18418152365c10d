"""`client.chat.completions`: whole, streamed, by the helpers, in forms, with functions, log probabilities and bounds."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.contract.model_server import NAME, WORDS, ModelServer
from tests.contract.sdk import Sdk
from tests.serving import Api
from tests.stack import until

ASK = [{"role": "user", "content": "Where is my order?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather of a city.", "strict": True,
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
        },
    },
}  # fmt: skip


class Ticket(BaseModel):
    """What a ticket is about."""

    topic: str
    urgent: bool
    kind: Literal["refund", "delivery"]


def ask(sdk: Sdk, **more: Any) -> ChatCompletion:
    return sdk(sdk.client.chat.completions.create(**{"model": "fast", "messages": ASK, **more}))


def test_an_answer_has_every_part_that_a_completion_has(sdk: Sdk) -> None:
    answer = ask(sdk, model="auto")
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model, len(answer.choices)) == ("chat.completion", "fast", 1)
    choice, usage = answer.choices[0], answer.usage
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    ours = answer.model_extra["rightsize"]
    assert set(ours) == {"tier", "model", "rule", "reasons", "attempts", "cost_usd", "simulated"}
    assert Decimal(ours["cost_usd"]) > 0


def test_hints_travel_in_extra_body(sdk: Sdk) -> None:
    grave = ask(sdk, model="auto", extra_body={"rightsize": {"stakes": "high"}})
    assert (grave.model_extra["rightsize"]["tier"], grave.model) == ("rlm", "thinker")


def test_several_choices_come_at_once(sdk: Sdk) -> None:
    assert [choice.index for choice in ask(sdk, n=3).choices] == [0, 1, 2]


def test_a_seed_stop_words_and_bounds_reach_the_model(sdk: Sdk, model_server: ModelServer) -> None:
    given = {
        "seed": 7, "stop": ["END"], "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 20, "presence_penalty": 0.1,
        "frequency_penalty": -0.1, "logit_bias": {"50256": -100}, "user": "somebody",
    }  # fmt: skip
    ask(sdk, model=NAME, **given)
    asked = model_server.asked[-1]
    assert {name: asked[name] for name in given if name in asked} | {"user": "somebody"} == given
    assert ask(sdk, stop="END").choices[0].finish_reason == "stop"


def test_log_probabilities_come_from_an_engine_that_has_them(sdk: Sdk) -> None:
    answer = ask(sdk, model=NAME, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    tokens = logprobs.content or []
    assert tuple(one.token for one in tokens) == WORDS
    assert all(one.logprob < 0 and len(one.top_logprobs) == 2 and one.bytes for one in tokens)
    streamed = sdk.events(
        sdk.client.chat.completions.create(
            model=NAME, messages=ASK, logprobs=True, top_logprobs=1, stream=True
        )
    )  # fmt: skip
    told = [
        one.token
        for piece in streamed
        for choice in piece.choices
        if choice.logprobs
        for one in choice.logprobs.content
    ]
    assert tuple(told) == WORDS


def test_functions_are_passed_through_and_their_calls_come_back(sdk: Sdk, model_server: ModelServer) -> None:
    answer = ask(sdk, model=NAME, tools=[WEATHER], parallel_tool_calls=False)
    assert model_server.asked[-1]["tools"] == [WEATHER]
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert (call.id, call.type, call.function.name) == ("call_1", "function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    told = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    after = ask(sdk, model=NAME, tools=[WEATHER], messages=[*ASK, choice.message.model_dump(exclude_none=True), told])
    assert after.choices[0].message.content == "".join(WORDS)


@pytest.mark.parametrize("choice", ["none", "auto", "required", {"type": "function", "function": {"name": "weather"}}])
def test_a_choice_of_functions_is_passed_through(sdk: Sdk, model_server: ModelServer, choice: Any) -> None:
    answer = ask(sdk, model=NAME, tools=[WEATHER], tool_choice=choice)
    assert model_server.asked[-1]["tool_choice"] == choice
    assert bool(answer.choices[0].message.tool_calls) == (choice != "none")


def test_calls_of_functions_are_streamed(sdk: Sdk) -> None:
    events, final = sdk.streamed(
        sdk.client.chat.completions.stream(model=NAME, messages=ASK, tools=[WEATHER]), "get_final_completion"
    )
    assert [event.name for event in events if event.type == "tool_calls.function.arguments.done"] == ["weather"]
    (call,) = final.choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"city": "Oslo"}


def test_a_stream_says_what_the_whole_answer_says(sdk: Sdk) -> None:
    pieces = sdk.events(sdk.client.chat.completions.create(model="fast", messages=ASK, stream=True))
    assert len(pieces) > 2
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert said == ask(sdk).choices[0].message.content
    assert {piece.object for piece in pieces} == {"chat.completion.chunk"}
    assert len({piece.id for piece in pieces}) == 1
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert Decimal(pieces[-1].model_extra["rightsize"]["cost_usd"]) > 0


def test_usage_is_streamed_where_it_is_asked_for(sdk: Sdk) -> None:
    given = {"model": "fast", "messages": ASK, "stream": True, "stream_options": {"include_usage": True}}
    pieces = sdk.events(sdk.client.chat.completions.create(**given))
    assert (pieces[-1].choices, [piece.usage for piece in pieces[:-1]]) == ([], [None] * (len(pieces) - 1))
    assert pieces[-1].usage.total_tokens > 0


def test_the_stream_helper_ends_in_the_whole_message(sdk: Sdk) -> None:
    events, final = sdk.streamed(sdk.client.chat.completions.stream(model="fast", messages=ASK), "get_final_completion")
    said = "".join(event.delta for event in events if event.type == "content.delta")
    assert said == final.choices[0].message.content != ""
    assert [event.content for event in events if event.type == "content.done"] == [said]


def test_a_stream_may_be_left_before_its_end(api: Api, sdk: Sdk) -> None:
    stream = sdk(sdk.client.chat.completions.create(model="fast", messages=[
        {"role": "user", "content": "[[sleep:3]] x"}], stream=True))  # fmt: skip
    job = stream.response.headers["x-rightsize-job"]
    assert len(sdk.every(stream, 1)) == 1
    sdk(stream.close())
    until(lambda: api.http.get(f"/v1/jobs/{job}").json()["ended_at"], 10)


def test_answers_keep_to_a_form(sdk: Sdk) -> None:
    assert json.loads(ask(sdk, response_format={"type": "json_object"}).choices[0].message.content or "")
    schema = {"name": "ticket", "strict": True, "schema": Ticket.model_json_schema()}
    answer = ask(sdk, response_format={"type": "json_schema", "json_schema": schema})
    assert Ticket.model_validate_json(answer.choices[0].message.content or "")
    parsed = sdk(sdk.client.chat.completions.parse(model="fast", messages=ASK, response_format=Ticket))
    assert isinstance(parsed.choices[0].message.parsed, Ticket)
    events, final = sdk.streamed(
        sdk.client.chat.completions.stream(model="fast", messages=ASK, response_format=Ticket), "get_final_completion"
    )
    assert isinstance(final.choices[0].message.parsed, Ticket)
    assert any(event.type == "content.done" and isinstance(event.parsed, Ticket) for event in events)


def test_what_an_answer_is_cut_at_is_told(sdk: Sdk) -> None:
    answer = ask(sdk, max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        sdk(sdk.client.chat.completions.parse(
            model="fast", messages=ASK, response_format=Ticket, max_completion_tokens=1))  # fmt: skip


def test_raw_responses_have_the_headers_that_name_job_and_request(api: Api, sdk: Sdk) -> None:
    raw = sdk(sdk.client.chat.completions.with_raw_response.create(model="fast", messages=ASK))
    assert raw.headers["x-request-id"] == raw.request_id == raw.parse()._request_id
    assert raw.headers["cache-control"] == "no-store"
    job = api.http.get(f"/v1/jobs/{raw.headers['x-rightsize-job']}").json()
    assert job["state"] == "succeeded"
    lines = sdk.within(
        sdk.client.chat.completions.with_streaming_response.create(model="fast", messages=ASK, stream=True),
        lambda response: response.headers["content-type"],
    )
    assert lines.startswith("text/event-stream")
