"""OpenAI's Responses API over the real path: whole, streamed, in batches, read again."""

from __future__ import annotations

from decimal import Decimal

import openai
import orjson
import pytest
from pydantic import BaseModel

from tests.api.test_batches import ended, upload
from tests.serving import Api
from tests.stack import row


def test_the_official_client_gets_a_response_with_its_route_and_price_and_reads_it_again(api: Api) -> None:
    made = api.openai.responses.create(
        model="auto", input="Where is my order?", instructions="Be brief.", metadata={"a": "b"}
    )
    assert made.output_text
    assert (made.status, made.model, made.instructions, made.metadata) == ("completed", "fast", "Be brief.", {"a": "b"})
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0
    ours = made.model_extra["rightsize"]
    assert (ours["tier"], ours["rule"]) == ("llm", "default")
    assert Decimal(ours["cost_usd"]) > 0
    again = api.openai.responses.retrieve(made.id)
    assert (again.id, again.output_text) == (made.id, made.output_text)


def test_a_streamed_response_ends_in_the_response_that_is_recorded(api: Api) -> None:
    with api.openai.responses.stream(model="fast", input="Tell me.") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert said == final.output_text != ""
    assert api.openai.responses.retrieve(final.id).output_text == said
    kinds = [event.type for event in api.openai.responses.create(model="fast", input="Tell me.", stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_a_form_is_parsed_from_a_response(api: Api) -> None:
    class Place(BaseModel):
        city: str

    parsed = api.openai.responses.parse(model="fast", input="Where?", text_format=Place)
    assert isinstance(parsed.output_parsed, Place)


def test_a_response_that_fails_says_so_in_openais_form_and_when_it_is_read(api: Api) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.openai.responses.create(model="fast", input="[[fail:400]]")
    name = caught.value.response.headers["x-rightsize-job"].replace("job_", "resp_")
    failed = api.openai.responses.retrieve(name)
    assert (failed.status, failed.error is not None) == ("failed", True)


def test_rows_of_a_batch_may_be_responses(api: Api) -> None:
    lines = [row(str(n), {"model": "auto", "input": f"Number {n}"}, "/v1/responses") for n in range(3)]
    lines.append(row("wrong", {"model": "auto", "input": "x", "background": True}, "/v1/responses"))
    made = api.openai.batches.create(
        input_file_id=upload(api, lines), endpoint="/v1/responses", completion_window="24h",
        extra_body={"rightsize": {"on_invalid_row": "report"}},
    )  # fmt: skip
    batch = ended(api, made.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (3, 1)
    found = [orjson.loads(line) for line in api.openai.files.content(batch.output_file_id or "").text.splitlines()]
    assert all(line["response"]["body"]["object"] == "response" for line in found)
    assert openai.types.responses.Response.model_validate(found[0]["response"]["body"]).output_text


@pytest.mark.parametrize("field", ["previous_response_id", "background", "conversation"])
def test_what_is_not_served_is_refused_by_name(api: Api, field: str) -> None:
    value = True if field == "background" else "x_1"
    response = api.post("/v1/responses", {"model": "auto", "input": "x", field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
