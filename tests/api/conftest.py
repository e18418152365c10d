"""One API with its orchestrator and worker for all tests of a file: they share nothing but the tenant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.settings import Settings
from tests.serving import Api, serve
from tests.stack import Stack

if TYPE_CHECKING:
    from tests.conftest import Servers

QUICK = {
    "lease_s": 2.0,
    "heartbeat_s": 0.4,
    "claim_by_s": 1.0,
    "recover_every_s": 0.3,
    "poll_s": 0.3,
    "stop_within_s": 3.0,
}


@pytest.fixture(scope="module")
def module_settings(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Settings:
    """Settings with a migrated database of the file's own."""
    name = request.module.__name__.rpartition(".")[2]
    given: dict[str, Any] = {
        **QUICK,
        "database_url": servers.create_migrated(name),
        "redis_url": servers.redis_url,
        "data_dir": tmp_path_factory.mktemp(name),
        "config": Path(__file__).parents[1] / "fleet.toml",
        "request_timeout_s": 5.0,
        "max_request_bytes": 4 * 1024 * 1024,
        "max_file_bytes": 64 * 1024 * 1024,
    }
    return Settings.load(given)


@pytest.fixture(scope="module")
def module_stack(module_settings: Settings) -> Iterator[Stack]:
    """Orchestrator and one worker for the text tiers."""
    with Stack(module_settings) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker("llm", "rlm", "mllm")
        yield stack


@pytest.fixture(scope="module")
def api(module_stack: Stack) -> Iterator[Api]:
    """The API, served."""
    with serve(module_stack) as api:
        yield api
