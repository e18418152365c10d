"""A producer as another service has it: a Celery application of its own that knows the name of a task and nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from orchestrator import commands
from orchestrator.flow import administer
from orchestrator.flow.administer import Actor
from tests.stack import OWNER, Stack, chat

WITHIN_S = 30.0
HOUSE = Actor(OWNER.tenant_id, "test")


@dataclass(frozen=True, slots=True)
class Producer:
    """Another service."""

    app: Celery
    key: str
    stack: Stack

    def submit(self, body: Any = None, **options: Any) -> AsyncResult:
        """Hand in a job by name."""
        kwargs = {"key": self.key, "body": chat("Hello") if body is None else body, **options.pop("more", {})}
        return self.app.send_task("rightsize.submit", kwargs=kwargs, queue="rightsize.submit", **options)

    def answer(self, sent: AsyncResult) -> Any:
        """What became of a task; raises what it failed with."""
        return sent.get(timeout=WITHIN_S)

    def ask(self, name: str, wait_s: float = 0.0, key: str | None = None) -> Any:
        """Ask for a job by name."""
        kwargs = {"key": key or self.key, "id": name, "wait_s": wait_s}
        return self.answer(self.app.send_task("rightsize.result", kwargs=kwargs, queue="rightsize.submit"))

    def of_another_tenant(self) -> str:
        """A key of another tenant."""
        administer.create_tenant(self.stack.context, HOUSE, "acme")
        return str(commands.create_key(self.stack.settings, "theirs", tenant="acme")["key"])


@contextmanager
def produced(stack: Stack) -> Iterator[Producer]:
    """A producer with a result backend on a stack's Redis, and a key of the house."""
    url = stack.settings.require_redis()
    with Celery("shop", broker=url, backend=url, set_as_current=False) as app:
        yield Producer(app, str(commands.create_key(stack.settings, "shop")["key"]), stack)


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    """A producer on the test's stack."""
    with produced(stack) as made:
        yield made
