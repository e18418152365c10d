"""Whether a call is made once more, and after which pause. Pure but for the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from orchestrator.errors import Busy

TRIES: Final = 6
FIRST_PAUSE_S: Final = 0.2
MOST_PAUSE_S: Final = 10.0
SILENT_S: Final = 1.5
"""How long another try is waited for without a word."""
AWAY_AT_MOST_S: Final = 300.0
"""How long what waits for an end bears a service that does not answer."""


class Telling:
    """Says what another try is waited for, once until something is answered."""

    def __init__(self, on_wait: Callable[[str], None] | None) -> None:
        self._on_wait = on_wait
        self._said = False

    def say(self, message: str) -> None:
        """Say it, where somebody listens and has not heard it."""
        if self._on_wait is not None and not self._said:
            self._said = True
            self._on_wait(f"{message} Trying again.")

    def answered(self) -> None:
        """Something was answered."""
        self._said = False


class Patience:
    """What is borne of a service: so many tries, and so many seconds without anything heard."""

    def __init__(self, telling: Telling, *, tries: float, within_s: float) -> None:
        self._telling = telling
        self._most, self._within_s = tries, within_s
        self.heard()

    def heard(self) -> None:
        """Something came: patience begins anew."""
        self._tries = 0
        self._since = time.monotonic()

    def pause_s(self, error: Busy) -> float:
        """How long to wait before the next try: longer each time, with jitter, and at least what the service asked for.

        Raises the error itself where there is no next try.
        """
        waited_s = time.monotonic() - self._since
        self._tries += 1
        if self._tries >= self._most or waited_s > self._within_s:
            raise error
        grown = FIRST_PAUSE_S * 2.0 ** min(self._tries - 1, 10) * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
        pause_s = min(MOST_PAUSE_S, max(grown, error.retry_after_s))
        if waited_s + pause_s > SILENT_S:
            self._telling.say(error.message)
        return pause_s
