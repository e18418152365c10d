"""Waiting for a server that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from orchestrator.errors import ServiceUnavailable

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.1
MOST_PAUSE_S: Final = 2.0
START_S: Final = 60.0
"""How long a service that starts waits for its servers: they may be starting as well."""


def retrying(step: Callable[[], T], within_s: float) -> T:
    """What `step` returns, tried again with backoff while it raises ServiceUnavailable, for up to `within_s`."""
    give_up, pause_s = time.monotonic() + within_s, FIRST_PAUSE_S
    while True:
        try:
            return step()
        except ServiceUnavailable:
            if time.monotonic() + pause_s > give_up:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MOST_PAUSE_S)
