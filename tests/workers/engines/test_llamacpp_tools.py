"""What llama.cpp would drop of a request without a word: it is refused instead, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import EngineFault
from tests.workers.engines.build import chat
from tests.workers.engines.test_llamacpp import text_of, with_engine
from workers.engines._llamacpp.request import Requests
from workers.engines.answer_body import Read, Written, chat_answer

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "look"}}


def test_tools_that_the_template_has_no_place_for_are_refused_and_not_dropped() -> None:
    async def body(made: Any) -> None:
        for told in ("auto", "required", NAMED):
            with pytest.raises(EngineFault, match="no place for `tools`") as caught:
                await made.perform(chat("Hello", tools=[TOOL], tool_choice=told, max_tokens=9, temperature=0))
            assert (caught.value.fault_code, caught.value.retryable) == ("unsupported_parameter", False)
        assert text_of(await made.perform(chat("Hello", tools=[TOOL], tool_choice="none", max_tokens=9, temperature=0)))

    with_engine(body)


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_call_that_was_forced_and_did_not_come_is_a_fault_and_no_answer(choice: object) -> None:
    wrote = Written("Hello.", 2, "stop")
    with pytest.raises(EngineFault, match="had to call a function") as caught:
        chat_answer(chat("Hello", tools=[TOOL], tool_choice=choice), "small", "r1", Read(5, 0), [wrote])
    assert (caught.value.fault_code, caught.value.http_status) == ("no_tool_call", 502)


@pytest.mark.parametrize(
    "form, told",
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {"type": "string"}}}}}, "not"),
        ({"structured_outputs": {"json": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        ({"structured_outputs": {"json": {"type": "string", "format": "phone"}}}, "Unknown format"),
        ({"structured_outputs": {"regex": r"\bfoo\b"}}, "lookarounds"),
    ],
)  # fmt: skip
def test_a_form_that_llama_cpp_would_drop_is_refused_with_the_reason(form: dict[str, Any], told: str) -> None:
    requests = Requests("small", (), 64, raw_prompts=False, tools=True)
    with pytest.raises(EngineFault, match="cannot hold an answer to this form") as caught:
        requests.of("/v1/chat/completions", chat("Hello", **form).body)
    assert told in caught.value.message
    assert (caught.value.fault_code, caught.value.retryable) == ("unsupported_form", False)


def test_no_seed_means_any_seed() -> None:
    requests = Requests("small", (), 64, raw_prompts=False, tools=True)
    seeds = [
        requests.of("/v1/chat/completions", chat("Hello", seed=seed).body)[0]["seed"]
        for seed in (-1, 2**32 - 1, 2**63 - 1)
    ]
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)
