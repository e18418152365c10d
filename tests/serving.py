"""The API on a real port, over the stack's servers: uvicorn in a thread, orchestrator and workers as processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai

from orchestrator import ids
from orchestrator.api.app import create_app
from orchestrator.api.limits import Bounds
from orchestrator.api.server import Server, config, listen
from orchestrator.api.serving import CONNECTIONS
from orchestrator.client import Rightsize
from orchestrator.flow.authenticate import SCOPES, hash_of, new_key
from orchestrator.flow.context import open_context
from orchestrator.settings import Settings
from orchestrator.store import keys
from orchestrator.store.session import Database
from tests.stack import Stack, until


@dataclass(frozen=True, slots=True)
class Api:
    """A running API and how to call it."""

    url: str
    key: str
    stack: Stack
    http: httpx2.Client
    """Carries the key."""

    @property
    def openai(self) -> openai.OpenAI:
        """The official client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=30)

    @property
    def client(self) -> Rightsize:
        """Our own client."""
        return Rightsize(self.url, self.key, timeout_s=30)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        """Post JSON."""
        return self.http.post(path, json=body, **more)


def make_key(settings: Settings, *, tenant_id: int = 1, project_id: int = 1, scopes: Sequence[str] = SCOPES) -> str:
    """A new API key, of the default project with every scope if nothing else is said."""
    key = new_key()
    with closing(Database(settings, "orchestrator", connections=1)) as database, database.unit_of_work() as session:
        keys.add(session, ids.uuid7(), (tenant_id, project_id), name="test", key_hash=hash_of(key), prefix=key[:10], scopes=scopes,
                 within_s=None)  # fmt: skip
    return key


@contextmanager
def serve(stack: Stack, **bounds: Any) -> Iterator[Api]:
    """Serve the API over a stack; `bounds` replaces bounds on what comes in."""
    settings = stack.settings
    context = open_context(settings, "app", connections=CONNECTIONS)
    app = create_app(context, replace(Bounds.of(settings), **bounds))
    server = Server(config(app, settings), settings)
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    key = make_key(settings)
    try:
        until(lambda: server.started, 10, "the API is up")
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
            yield Api(url, key, stack, http)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        context.close()
