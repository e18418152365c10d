"""Completion of ids and names in a shell: quick, silent, and it never starts anything."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from orchestrator.cli.connect import settings_of
from orchestrator.client import Rightsize
from orchestrator.errors import RightsizeError
from orchestrator.local import state

MOST_SHOWN: Final = 20
WITHIN_S: Final = 1.0
"""Who pressed a key does not wait."""
Choices = list[tuple[str, str]]
"""What may be written, and what it is."""


def batch_ids(context: typer.Context, incomplete: str) -> Choices:
    """The latest batches."""
    return _asked(context, incomplete, _batches)


def model_names(context: typer.Context, incomplete: str) -> Choices:
    """The models of the fleet."""
    return _asked(context, incomplete, _models)


def _batches(client: Rightsize) -> Choices:
    found = itertools.islice(client.batches(page=MOST_SHOWN), MOST_SHOWN)
    return [(one["id"], f"{one['status']}, {one['request_counts']['total']} rows") for one in found]


def _models(client: Rightsize) -> Choices:
    found = [one for one in client.models() if one["rightsize"]["kind"] == "model"]
    return [(one["id"], f"{one['rightsize']['tier']}, {one['rightsize']['engine']}") for one in found]


def _asked(context: typer.Context, incomplete: str, ask: Callable[[Rightsize], Choices]) -> Choices:
    try:
        with _reached(context.params) as client:
            return [one for one in ask(client) if one[0].startswith(incomplete)] if client else []
    except RightsizeError:
        return []  # a completion that says what is wrong would stand in the middle of the person's command


@contextmanager
def _reached(given: dict[str, Any]) -> Iterator[Rightsize | None]:
    """A client of what the command would use, where that is up already."""
    url = given.get("url") or os.environ.get("RIGHTSIZE_URL")
    key = given.get("api_key") or os.environ.get("RIGHTSIZE_API_KEY")
    if not url:
        found = state.read(settings_of(given.get("data_dir")).data_dir)
        if found is None or not found.answers or not found.is_live():
            yield None
            return
        url, key = found.api_url, found.api_key
    if not key:
        yield None
        return
    with Rightsize(url, key, timeout_s=WITHIN_S) as client:
        yield client
