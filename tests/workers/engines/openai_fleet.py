"""An engine over several of the tests' OpenAI servers, with times short enough for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from tests.workers.engines.build import chat, model
from tests.workers.engines.openai_server import OpenAIServer
from workers.engines._openai.replicas import Pace, Replica, prefix_of
from workers.engines.base import EngineRequest
from workers.engines.openai import OpenAIEngine

PACE = Pace(poll_s=0.02, stale_s=0.5, ask_s=0.2, first_pause_s=0.1, most_pause_s=0.2)
PATIENT = replace(PACE, first_pause_s=60.0, most_pause_s=60.0)
GAUGES = """vllm:num_requests_running{{engine="0"}} {0}
vllm:num_requests_waiting{{engine="0"}} {1}
vllm:kv_cache_usage_perc{{engine="0"}} {2}
vllm:num_preemptions_total{{engine="0"}} {3}
"""


def page(running: int = 0, waiting: int = 0, kv_use: float = 0.1, preemptions: int = 0) -> bytes:
    return GAUGES.format(running, waiting, kv_use, preemptions).encode()


def listing(*names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "owned_by": "vllm"} for name in names]}


def as_vllm(server: OpenAIServer, name: str = "under-test") -> None:
    server.listing, server.metrics = listing(name), page()


@asynccontextmanager
async def servers(*behaviours: str) -> AsyncIterator[list[OpenAIServer]]:
    """A running server for each behaviour."""
    made = [OpenAIServer(behaviour=behaviour) for behaviour in behaviours]
    for one in made:
        await one.__aenter__()
    try:
        yield made
    finally:
        for one in made:
            await one.__aexit__()


@asynccontextmanager
async def engine(*found: OpenAIServer, pace: Pace = PACE, **table: Any) -> AsyncIterator[OpenAIEngine]:
    """A loaded engine for these servers."""
    first, *more = [one.address() for one in found]
    table = {"timeout_s": 5.0, "connect_timeout_s": 1.0, "slots": 64, **table}
    made = OpenAIEngine(model("openai", address=first, replicas=more, **table), pace)
    await made.load()
    try:
        yield made
    finally:
        await made.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 20))


def ask(n: int, **body: Any) -> EngineRequest:
    return chat(f"question {n}", job=f"job_{n}", **body)


async def ask_all(made: OpenAIEngine, count: int, first: int = 0) -> list[Answer]:
    return list(await asyncio.gather(*(made.perform(ask(n)) for n in range(first, first + count))))


async def fault_of(made: OpenAIEngine, request: EngineRequest) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        await made.perform(request)
    return caught.value


async def until(true: Callable[[], object]) -> None:
    """Wait for what happens in the background."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - it happens in a task of the engine's own
            await asyncio.sleep(0.005)


def replicas(made: OpenAIEngine) -> tuple[Replica, ...]:
    return made._replicas.all


def homed(made: OpenAIEngine, server: OpenAIServer) -> EngineRequest:
    """A request whose place on the ring is at this server, while loads are even."""
    for n in range(200):
        if made._choose(ask(n), prefix_of(ask(n).body), set()).base == server.address():
            return ask(n)
    raise AssertionError("no beginning has its place there")


def told(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.message == name]
