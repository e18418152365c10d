"""One stack for all of the contract's tests, with a model behind an HTTP server beside the simulated ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.settings import Settings
from tests.api.conftest import QUICK
from tests.contract.model_server import NAME, ModelServer, serve_model
from tests.contract.sdk import Sdk
from tests.serving import Api, serve
from tests.stack import Stack

if TYPE_CHECKING:
    from tests.conftest import Servers
    from tests.lasting import Lasting

HERE = Path(__file__).parent
_numbers = itertools.count(1)
AFAR = """
[models.{name}]
tier = "llm"
engine = "openai"
address = "{url}"
endpoints = ["/v1/chat/completions"]
slots = 16
expected_latency_s = 0.05
[[models.{name}.rates]]
input = "1.00"
output = "2.00"
"""


@contextmanager
def served(servers: Servers, folder: Path, name: str, *, redis: int = 13, more: str = "") -> Iterator[Api]:
    """The API over a stack of its own, with orchestrator and one worker for the text tiers; webhooks may go to the loopback.

    `redis` is the number of its Redis database, which nobody else may use: it lives on beside the files of its folder that follow.
    `more` is added to its fleet.
    """
    fleet = (Path(__file__).parents[1] / "fleet.toml").read_text("utf-8")
    (folder / "fleet.toml").write_text(fleet + more, "utf-8")
    settings = Settings.load(
        {
            **QUICK,
            "lease_s": 15.0,  # no worker is lost here but by mistake, on a machine that is busy
            "database_url": servers.create_migrated(name),
            "redis_url": servers.redis_url.replace("virtual_host=0", f"virtual_host={redis}"),
            "data_dir": folder,
            "config": folder / "fleet.toml",
            "request_timeout_s": 10.0,
            "max_request_bytes": 1024 * 1024,
            # It lives beside many files: at the pace of other tests it would take a seventh of a core from all of them.
            "poll_s": 1.0,
            "recover_every_s": 1.0,
            "heartbeat_s": 1.0,
            "max_file_bytes": 8 * 1024 * 1024,
            "webhook_networks": "127.0.0.0/8",
        }
    )
    with Stack(settings) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker("llm", "rlm", "mllm")
        with serve(stack) as api:
            yield api


@pytest.fixture(scope="module")
def model_server(lasting: Lasting) -> ModelServer:
    """The server of the model `afar`."""
    return lasting.get(HERE, "model server", serve_model)


@pytest.fixture(scope="module")
def api(lasting: Lasting, servers: Servers, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The API, served."""
    more = AFAR.format(name=NAME, url=model_server.url)
    return lasting.get(
        HERE,
        "api",
        lambda: served(servers, tmp_path_factory.mktemp("contract"), f"contract_{next(_numbers)}", more=more),
    )


@pytest.fixture(scope="module", params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, api: Api) -> Iterator[Sdk]:
    """The official client, in both of its forms."""
    with Sdk(api, request.param) as made:
        yield made
