"""Calls of functions on llama.cpp: SmolLM2 was not trained for them, so that a call which is forced does not come."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import EngineFault
from tests.workers.engines.build import chat
from tests.workers.engines.test_llamacpp import text_of, with_engine

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "look"}}


def test_a_call_that_was_forced_and_did_not_come_is_a_fault_and_no_answer() -> None:
    async def body(made: Any) -> None:
        for told in ("required", NAMED):
            with pytest.raises(EngineFault, match="had to call a function") as caught:
                await made.perform(chat("Hello", tools=[TOOL], tool_choice=told, max_tokens=9, temperature=0))
            assert (caught.value.fault_code, caught.value.http_status) == ("no_tool_call", 502)
        for told in ("auto", "none"):
            assert text_of(
                await made.perform(chat("Hello", tools=[TOOL], tool_choice=told, max_tokens=9, temperature=0))
            )

    with_engine(body)
