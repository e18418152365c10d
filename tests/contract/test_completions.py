"""`client.completions`, `client.embeddings` and `client.models`."""

from __future__ import annotations

import openai
import pytest

from tests.contract.sdk import Sdk

TEXTS = ["Where is my order?", "Thanks."]


def test_a_prompt_is_completed_whole_and_streamed(sdk: Sdk) -> None:
    whole = sdk(sdk.client.completions.create(model="fast", prompt="Once", max_tokens=50))
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == ("text_completion", "fast", "stop")
    assert whole.id.startswith("cmpl-")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0
    pieces = sdk.events(sdk.client.completions.create(model="fast", prompt="Once", stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_several_prompts_are_completed_at_once(sdk: Sdk) -> None:
    answer = sdk(sdk.client.completions.create(model="fast", prompt=TEXTS, n=2))
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


@pytest.mark.parametrize("field", ["echo", "suffix"])
def test_what_no_engine_honours_is_refused_and_not_dropped(sdk: Sdk, field: str) -> None:
    value = True if field == "echo" else "and then"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(sdk.client.completions.create(model="fast", prompt="Once", **{field: value}))
    assert caught.value.param == field


def test_texts_are_embedded_as_numbers_and_as_bytes(sdk: Sdk) -> None:
    embeddings = sdk.client.embeddings
    numbers = sdk(embeddings.create(model="fast", input=TEXTS, encoding_format="float"))
    by_default = sdk(embeddings.create(model="fast", input=TEXTS))  # the client asks for base64, and reads it
    as_text = sdk(embeddings.create(model="fast", input=TEXTS, encoding_format="base64"))
    assert (numbers.object, numbers.model, [one.index for one in numbers.data]) == ("list", "fast", [0, 1])
    for one, other in zip(numbers.data, by_default.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
    assert all(isinstance(one.embedding, str) for one in as_text.data)
    assert numbers.usage.total_tokens == numbers.usage.prompt_tokens > 0


def test_one_text_is_embedded_in_so_many_dimensions(sdk: Sdk) -> None:
    answer = sdk(sdk.client.embeddings.create(model="fast", input=TEXTS[0], dimensions=17))
    assert [len(one.embedding) for one in answer.data] == [17]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(sdk.client.embeddings.create(model="fast", input=TEXTS[0], dimensions=0))
    assert caught.value.param == "dimensions"


def test_models_are_what_model_may_be(sdk: Sdk) -> None:
    found = sdk.every(sdk.client.models.list())
    names = [model.id for model in found]
    assert names[0] == "auto"
    assert {"llm", "rlm", "fast", "thinker"} <= set(names)
    assert {model.object for model in found} == {"model"}
    one = sdk(sdk.client.models.retrieve("fast"))
    assert (one.id, one.owned_by, one.model_extra["rightsize"]["tier"]) == ("fast", "rightsize", "llm")
    assert one in found
    with pytest.raises(openai.NotFoundError) as caught:
        sdk(sdk.client.models.retrieve("gpt-nothing"))
    assert caught.value.code == "model_not_found"
