"""One warm vLLM for all tests of the engine, on a loop of its own; and a stack whose worker runs vLLM, for those of the path."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.weights import tiny
from orchestrator.fleet import Model
from tests.conftest import PACE, Servers
from tests.stack import Stack, until
from tests.vllm.fleet import fleet_toml, model
from workers.engines.vllm import VLLMEngine

pytest.register_assert_rewrite(
    "tests.workers.engines.test_conformance", "tests.workers.engines.test_conformance_streams"
)
T = TypeVar("T")
WARM_WITHIN_S = 300.0
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture(scope="session", autouse=True)
def _offline() -> None:
    """No test asks a hub: what is not on the disk is not there."""
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a million weights that chats, with the marks of a thought in its vocabulary."""
    return tiny.folder("chat", tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="session")
def run() -> Iterator[Run[Any]]:
    """Runs a coroutine on the loop that the warm engine belongs to."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-loop", daemon=True)
    thread.start()

    def to_end(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(WARM_WITHIN_S)

    yield to_end
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def served(weights: Path) -> Model:
    """The model of the warm engine: four slots, a thought of at most 24 tokens at low effort."""
    return model(
        weights,
        slots=4,
        vllm={"max_model_len": 8192},
        reasoning={"opens": True, "low_tokens": 24},
        max_output_tokens=64,
    )


@pytest.fixture(scope="session")
def engine(served: Model, run: Run[None]) -> Iterator[VLLMEngine]:
    """The warm engine. A test that harms its engine makes one of its own."""
    made = VLLMEngine(served)
    run(made.load())
    yield made
    run(made.close())


@pytest.fixture(scope="session")
def cell(servers: Servers, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Orchestrator and one worker with vLLM in it, for the tests of the whole path. None of them may kill it."""
    with stack_of(servers, tmp_path_factory.mktemp("cell"), fleet_toml(weights)) as stack:
        stack.orchestrator()
        start_worker(stack)
        yield stack


def stack_of(servers: Servers, folder: Path, fleet: str) -> Stack:
    """A stack on a database of its own, at the pace of tests."""
    config = folder / "rightsize.toml"
    config.write_text(fleet)
    url = servers.create_migrated(f"vllm_{folder.name.replace('-', '_')}")
    from orchestrator.settings import Settings

    settings = Settings.load(
        {
            **PACE,
            "lease_s": 5.0,
            "database_url": url,
            "redis_url": servers.redis_url,
            "data_dir": folder,
            "config": config,
        }
    )
    return Stack(settings)


def start_worker(stack: Stack) -> Any:
    """Start a worker with vLLM, and wait until it is warm."""
    process = stack.worker(ready=False)
    until(
        lambda: (
            process.poll() is not None or stack.count("SELECT count(*) FROM workers WHERE pid = :pid", pid=process.pid)
        ),
        WARM_WITHIN_S,
        "vLLM is warm",
    )
    assert process.poll() is None, "the worker ended while it loaded"
    return process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Elsewhere warnings are errors. torch and vLLM warn about themselves, also while they load."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("default"))
