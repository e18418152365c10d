"""One API with its orchestrator and worker for all tests of a file, and a way to it whose connections can be cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.client import Rightsize
from orchestrator.settings import Settings
from tests.client.cutting import Cutter, cutting
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
    name = "client_" + request.module.__name__.rpartition(".")[2]
    given: dict[str, Any] = {
        **QUICK,
        "database_url": servers.create_migrated(name),
        "redis_url": servers.redis_url,
        "data_dir": tmp_path_factory.mktemp(name),
        "config": Path(__file__).parents[1] / "fleet.toml",
        "request_timeout_s": 4.0,
        "webhook_networks": "127.0.0.0/8",
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


@pytest.fixture
def client(api: Api) -> Iterator[Rightsize]:
    """Our client."""
    with api.client as client:
        yield client


@pytest.fixture
def cutter(api: Api) -> Iterator[Cutter]:
    """A way to the API whose connections are cut as a test says."""
    with cutting(api.url) as made:
        yield made
