"""`client.responses`: created, streamed, parsed, read again."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from orchestrator.responses.fields import NOT_SERVED
from tests.contract.model_server import NAME
from tests.contract.sdk import Sdk

LOOK = {
    "type": "function", "name": "look", "description": "Looks.", "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
IN_CLIENT = sorted(set(NOT_SERVED) & {"background", "conversation", "previous_response_id", "prompt"})


class Place(BaseModel):
    """Where something is."""

    city: str


def test_a_response_is_made_and_read_again(sdk: Sdk) -> None:
    made = sdk(
        sdk.client.responses.create(
            model="auto", input="Where is it?", instructions="Be brief.", metadata={"a": "b"}, store=True
        )
    )
    assert (made.object, made.status, made.model, made.instructions) == ("response", "completed", "fast", "Be brief.")
    assert (made.metadata, made.error, made.incomplete_details) == ({"a": "b"}, None, None)
    assert made.output_text == made.output[0].content[0].text != ""
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0
    assert Decimal(made.model_extra["rightsize"]["cost_usd"]) > 0
    again = sdk(sdk.client.responses.retrieve(made.id))
    assert (again.id, again.output, again.created_at) == (made.id, made.output, made.created_at)
    with pytest.raises(openai.NotFoundError):
        sdk(sdk.client.responses.retrieve("resp_" + "0" * 32))


def test_events_of_a_streamed_response_are_numbered_and_end_in_the_response(sdk: Sdk) -> None:
    events = sdk.events(sdk.client.responses.create(model="fast", input="Tell me.", stream=True))
    kinds = [event.type for event in events]
    assert (kinds[:2], kinds[-1]) == (["response.created", "response.in_progress"], "response.completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text != ""


def test_the_stream_helper_ends_in_the_response(sdk: Sdk) -> None:
    events, final = sdk.streamed(sdk.client.responses.stream(model="fast", input="Tell me."), "get_final_response")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == final.output_text
    _, formed = sdk.streamed(
        sdk.client.responses.stream(model="fast", input="Where?", text_format=Place), "get_final_response"
    )
    assert isinstance(formed.output_parsed, Place)


def test_a_form_is_parsed(sdk: Sdk) -> None:
    parsed = sdk(sdk.client.responses.parse(model="fast", input="Where?", text_format=Place))
    assert isinstance(parsed.output_parsed, Place)


def test_functions_are_called_and_what_they_came_to_is_taken(sdk: Sdk) -> None:
    first = sdk(sdk.client.responses.create(model=NAME, input="How is it in Oslo?", tools=[LOOK]))
    call = next(item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("look", {"city": "Oslo"})
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    given: list[Any] = [{"role": "user", "content": "How is it in Oslo?"}, call.model_dump(exclude_none=True), told]
    second = sdk(sdk.client.responses.create(model=NAME, input=given, tools=[LOOK]))
    assert second.output_text


@pytest.mark.parametrize("field", IN_CLIENT)
def test_what_is_not_served_is_refused_by_name_with_what_to_do(sdk: Sdk, field: str) -> None:
    value: Any = {"background": True, "prompt": {"id": "pmpt_1"}}.get(field, "x_1")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(sdk.client.responses.create(model="fast", input="x", **{field: value}))
    assert caught.value.param == field
    assert NOT_SERVED[field] in caught.value.message


def test_a_response_that_failed_can_be_read(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(sdk.client.responses.create(model="fast", input="[[fail:400]]"))
    name = caught.value.response.headers["x-rightsize-job"].replace("job_", "resp_")
    failed = sdk(sdk.client.responses.retrieve(name))
    assert (failed.status, failed.error.code) == ("failed", "server_error")
