"""Whoever runs the service under test: a client with every scope, for tenants, projects, keys and budgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from benchmarks.service.ours import Ours

SCOPES = ("submit", "read", "admin")


@contextmanager
def admin(ours: Ours) -> Iterator[httpx2.Client]:
    """A client of the default tenant, whose key may do everything."""
    words = [word for scope in SCOPES for word in ("--scope", scope)]
    made = json.loads(ours.stack.run_once("keys", "create", "--name", "boss", *words, "--json"))
    headers = {"Authorization": f"Bearer {made['key']}"}
    with httpx2.Client(base_url=ours.target.url, headers=headers, timeout=120.0) as http:
        yield http


def answered(response: httpx2.Response) -> dict[str, Any]:
    """The object that an answer holds; raises for one that is an error."""
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found
