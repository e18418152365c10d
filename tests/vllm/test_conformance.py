"""vLLM keeps every promise of an engine: the one suite, asked of the warm engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from orchestrator.fleet import Model
from tests.vllm.conftest import Run
from tests.workers.engines import test_conformance as suite
from tests.workers.engines import test_conformance_streams as streams
from tests.workers.engines.test_conformance import Subject
from workers.engines.base import EngineRequest
from workers.engines.vllm import VLLMEngine

globals().update(
    {name: test for one in (suite, streams) for name, test in vars(one).items() if name.startswith("test_")}
)


class Kept:
    """The warm engine's vLLM, which outlives whoever uses it."""

    output_handler = None
    """Nobody's to end: the warm engine goes on listening."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    def shutdown(self, timeout: float | None = None) -> None:
        """Stay warm."""


class Answering(Subject):
    """Asks for one of two words: a random model ends nowhere by itself."""

    def request(self, *args: Any, **named: Any) -> EngineRequest:
        made = super().request(*args, **named)
        return made.with_body(
            {**made.body, "reasoning_effort": "none", "structured_outputs": {"choice": ["yes", "no"]}}
        )


def sharing(warm: VLLMEngine, model: Model) -> Any:
    """An engine of its own around the same vLLM."""
    made: Any = VLLMEngine(model)

    def take() -> None:
        made._llm, made._reports = Kept(warm._llm), warm._reports

    made._make = take
    return made


@pytest.fixture
def check(engine: VLLMEngine, served: Model, run: Run[None]) -> Callable[[Callable[[Subject], Awaitable[None]]], None]:
    def once(body: Callable[[Subject], Awaitable[None]]) -> None:
        async def main() -> None:
            subject_engine, stuck = sharing(engine, served), sharing(engine, served)
            begun = asyncio.Event()

            async def never(*_: Any) -> AsyncIterator[Any]:
                begun.set()
                await asyncio.sleep(3600)
                yield None

            await subject_engine.load()
            await stuck.load()
            stuck._chats._generate = never
            try:
                await body(Answering(subject_engine, stuck, lambda: asyncio.wait_for(begun.wait(), 5)))
            finally:
                await subject_engine.close()
                await stuck.close()

        run(asyncio.wait_for(main(), 60))

    return once
