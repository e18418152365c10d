"""The official client, unmodified, against a server that speaks responses by this package: every call that it has for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

from tests.responses.canned import PICTURE, call, calls, says, token
from tests.responses.server import CREATED, Served, serve

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}  # fmt: skip


class Ticket(pydantic.BaseModel):
    """What a ticket is about."""

    topic: str
    urgent: bool


TICKET = '{"topic": "refund", "urgent": true}'


def answered(chat: dict[str, Any]) -> dict[str, Any]:
    """A model that calls the function it may call, reads what that came to, and keeps to a form."""
    last = chat["messages"][-1]
    if last["role"] == "tool":
        return says(f"It is {last['content']} in Oslo.")
    if chat.get("response_format", {}).get("type") == "json_schema":
        return says(TICKET)
    if chat.get("response_format"):
        return says('{"any": "object"}')
    if chat.get("tools"):
        return calls(
            call("weather", '{"city": "Oslo"}'), call("weather", '{"city": "Bergen"}', "call_2"), text="Let me look."
        )
    if chat.get("logprobs"):
        return says("Yes.", logprobs=[token("Yes", -0.1, "No"), token(".", -0.2)])
    thought = {"reasoning": "They ask for their order."} if chat.get("rightsize", {}).get("reasoning") else {}
    return {**says("It is on its way.", **thought), "rightsize_simulated": {"speed": 1.0}}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(answered) as running:
        yield running


def test_an_answer_is_created(served: Served) -> None:
    response = served.client.responses.create(
        model="auto", input="Where is my order?", instructions="Be brief.", metadata={"order": "1041"}, user="u", store=False,
        temperature=0.2, max_output_tokens=100, truncation="disabled", service_tier="auto", extra_body={"rightsize": {"stakes": "low"}},
    )  # fmt: skip
    assert response.output_text == "It is on its way."
    assert (response.status, response.created_at, response.model, response.instructions) == (
        "completed",
        CREATED,
        "fast",
        "Be brief.",
    )
    assert response.metadata == {"order": "1041"}
    assert response.usage is not None
    assert (
        response.usage.input_tokens_details.cached_tokens,
        response.usage.output_tokens_details.reasoning_tokens,
    ) == (12, 40)
    assert response.model_extra is not None
    assert response.model_extra["rightsize_simulated"] == {"speed": 1.0}
    assert served.chats[-1]["rightsize"] == {"stakes": "low"}


def test_pictures_are_sent_as_items(served: Served) -> None:
    part: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
    ]
    response = served.client.responses.create(model="mllm", input=[{"role": "user", "content": part}])
    assert response.output_text
    assert served.chats[-1]["messages"][0]["content"][1]["image_url"]["url"] == PICTURE


def test_an_answer_is_streamed_event_by_event(served: Served) -> None:
    with served.client.responses.create(
        model="auto", input="Hi", stream=True, stream_options={"include_obfuscation": False}
    ) as stream:
        told = list(stream)
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert (told[0].type, told[1].type, told[-1].type) == (
        "response.created",
        "response.in_progress",
        "response.completed",
    )
    assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == "It is on its way."
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == "It is on its way."


def test_the_helper_for_streams_gathers_text_and_snapshot(served: Served) -> None:
    with served.client.responses.stream(
        model="auto",
        input="Hi",
        extra_body={"rightsize": {"reasoning": True}},
        reasoning={"effort": "low", "summary": "auto"},
    ) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots == ["It is", "It is on i", "It is on its wa", "It is on its way."]
    assert final.output_text == "It is on its way."
    assert [item.type for item in final.output] == ["reasoning", "message"]


def test_the_answer_is_parsed_into_a_model_of_the_caller(served: Served) -> None:
    response = served.client.responses.parse(model="auto", input="I was charged twice!", text_format=Ticket)
    assert response.output_parsed == Ticket(topic="refund", urgent=True)
    asked = served.chats[-1]["response_format"]["json_schema"]
    assert (asked["name"], asked["strict"], asked["schema"]["required"]) == ("Ticket", True, ["topic", "urgent"])


def test_the_answer_is_parsed_while_it_is_streamed(served: Served) -> None:
    with served.client.responses.stream(model="auto", input="I was charged twice!", text_format=Ticket) as stream:
        done = [event for event in stream if event.type == "response.output_text.done"]
        final = stream.get_final_response()
    assert done[0].parsed == final.output_parsed == Ticket(topic="refund", urgent=True)


def test_any_object_can_be_asked_for(served: Served) -> None:
    response = served.client.responses.create(model="auto", input="JSON", text={"format": {"type": "json_object"}})
    assert json.loads(response.output_text) == {"any": "object"}


def test_functions_are_called_and_answered_in_a_second_request(served: Served) -> None:
    client, tools = served.client, [WEATHER]
    items: list[Any] = [{"role": "user", "content": "The weather in Oslo?"}]
    first = client.responses.create(model="auto", input=items, tools=tools, tool_choice="auto")  # type: ignore[arg-type]
    items += first.output
    asked = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(one.arguments)["city"] for one in asked] == ["Oslo", "Bergen"]
    items += [{"type": "function_call_output", "call_id": one.call_id, "output": "sunny"} for one in asked]
    second = client.responses.create(model="auto", input=items, tools=tools)  # type: ignore[arg-type]
    assert second.output_text == "It is sunny in Oslo."
    assert [message["role"] for message in served.chats[-1]["messages"]] == ["user", "assistant", "tool", "tool"]
    assert served.chats[-1]["messages"][1]["content"] == "Let me look."


def test_calls_of_functions_are_streamed(served: Served) -> None:
    with served.client.responses.stream(model="auto", input="The weather?", tools=[WEATHER]) as stream:  # type: ignore[list-item]
        told = list(stream)
        final = stream.get_final_response()
    ended = [event for event in told if event.type == "response.function_call_arguments.done"]
    assert [json.loads(event.arguments)["city"] for event in ended] == ["Oslo", "Bergen"]
    found = [item for item in final.output if item.type == "function_call"]
    assert [item.parsed_arguments for item in found] == [{"city": "Oslo"}, {"city": "Bergen"}]
    deltas = [event for event in told if event.type == "response.function_call_arguments.delta"]
    assert deltas[-1].snapshot == '{"city": "Bergen"}'


def test_a_function_made_of_a_model_gives_its_arguments_as_that_model(served: Served) -> None:
    """As libraries for structured answers do it: a model is the only tool, wrong arguments go back with what is wrong in them."""
    tried = iter(['{"topic": "refund"}', TICKET])

    def wrong_at_first(_: dict[str, Any]) -> dict[str, Any]:
        return calls(call("Ticket", next(tried)))

    tool: Any = {"type": "function", "name": "Ticket", "parameters": Ticket.model_json_schema()}
    items: list[Any] = [{"role": "user", "content": "I was charged twice!"}]
    with serve(wrong_at_first) as stubborn:
        found = None
        for _ in range(2):
            response = stubborn.client.responses.create(
                model="auto", input=items, tools=[tool], tool_choice={"type": "function", "name": "Ticket"}
            )
            (made,) = response.output
            assert made.type == "function_call"
            try:
                found = Ticket.model_validate_json(made.arguments)
            except pydantic.ValidationError as wrong:
                told = {"type": "function_call_output", "call_id": made.call_id, "output": str(wrong)}
                items += [made.to_dict(), told]
        assert found == Ticket(topic="refund", urgent=True)
        assert "urgent" in stubborn.chats[1]["messages"][-1]["content"]
        assert stubborn.chats[1]["tool_choice"] == {"type": "function", "function": {"name": "Ticket"}}
        stubborn.answer = lambda _: calls(call("Ticket", TICKET))
        parsed = stubborn.client.responses.parse(model="auto", input="x", tools=[openai.pydantic_function_tool(Ticket)])
    (made_again,) = parsed.output
    assert made_again.type == "function_call"
    assert made_again.parsed_arguments == Ticket(topic="refund", urgent=True)


def test_log_probabilities_are_read(served: Served) -> None:
    asked: dict[str, Any] = {
        "model": "auto",
        "input": "?",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
    }
    (message,) = served.client.responses.create(**asked).output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert [(row.token, row.bytes, row.logprob) for row in part.logprobs] == [
        ("Yes", [89, 101, 115], -0.1),
        (".", [46], -0.2),
    ]
    streamed = [
        event
        for event in served.client.responses.create(**asked, stream=True)
        if event.type == "response.output_text.delta"
    ]
    assert [row.token for event in streamed for row in event.logprobs] == ["Yes", "."]


def test_what_is_not_served_is_told_by_the_client_with_its_field(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="Send the whole conversation in `input`") as caught:
        served.client.responses.create(model="auto", input="Hi", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError, match="Only functions that you run yourself"):
        served.client.responses.create(model="auto", input="Hi", tools=[{"type": "web_search"}])


def test_a_stream_that_fails_tells_the_client_why() -> None:
    with serve(answered) as broken:
        broken.fails_after = 2
        told = list(broken.client.responses.create(model="auto", input="Hi", stream=True))
        assert [event.type for event in told[-2:]] == ["error", "response.failed"]
        assert told[-1].type == "response.failed"
        assert told[-1].response.error is not None
        assert told[-1].response.error.message == "The worker is gone."
        assert told[-1].response.output_text == "It is"
        helper = broken.client.responses.stream(model="auto", input="Hi")
        with helper as stream, pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()


def test_an_answer_that_was_cut_reaches_the_client_as_incomplete() -> None:
    with serve(lambda _: says("It is", finish="length")) as cut:
        response = cut.client.responses.create(model="auto", input="Hi", max_output_tokens=2)
        assert response.incomplete_details is not None
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert (
            list(cut.client.responses.create(model="auto", input="Hi", stream=True))[-1].type == "response.incomplete"
        )


def test_the_asynchronous_client_does_the_same(served: Served) -> None:
    async def all_of_it() -> None:
        async with openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=30) as client:
            created = await client.responses.create(model="auto", input="Hi")
            assert created.output_text == "It is on its way."
            parsed = await client.responses.parse(model="auto", input="I was charged twice!", text_format=Ticket)
            assert parsed.output_parsed == Ticket(topic="refund", urgent=True)
            streamed = await client.responses.create(model="auto", input="Hi", stream=True)
            deltas = [event.delta async for event in streamed if event.type == "response.output_text.delta"]
            assert "".join(deltas) == "It is on its way."
            async with client.responses.stream(model="auto", input="The weather?", tools=[WEATHER]) as stream:  # type: ignore[list-item]
                final = await stream.get_final_response()
            assert [item.type for item in final.output] == ["message", "function_call", "function_call"]

    asyncio.run(all_of_it())
