"""The same servers as for the tests of the API: one API with its orchestrator and worker for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.client import Rightsize
from orchestrator.settings import Settings
from tests.api.conftest import api, module_stack
from tests.api.conftest import module_settings as base_settings
from tests.attacks.alone import Alone, serve_alone
from tests.serving import Api
from tests.stack import Stack

__all__ = ["alone", "api", "base_settings", "module_settings", "module_stack", "with_settings"]


@pytest.fixture(scope="module")
def module_settings(base_settings: Settings) -> Settings:
    """Webhooks may be sent to the loopback too, where the tests listen."""
    return with_settings(base_settings, webhook_networks="127.0.0.0/8")


@pytest.fixture(scope="module")
def alone(module_stack: Stack) -> Iterator[Alone]:
    """The API as a process of its own, whose memory and logs are its own too."""
    with serve_alone(module_stack) as served:
        yield served


def with_settings(settings: Settings, **more: object) -> Settings:
    """The same settings, but for some."""
    return Settings.load({**{name: getattr(settings, name) for name in settings.model_fields_set}, **more})


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[Rightsize]:
    """Our own client, for what an operator does."""
    with api.client as made:
        yield made
