"""Waiting for servers, and the pulse that says that a process works."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator import pulse
from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.patience import retrying
from orchestrator.settings import Settings


def test_what_is_away_is_tried_again_until_it_answers_or_the_time_is_up() -> None:
    tries = []

    def third_time() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ServiceUnavailable("away", retry_after_s=0.0)
        return "there"

    assert retrying(third_time, 10.0) == "there"
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable):
        retrying(lambda: _raise(ServiceUnavailable("away", retry_after_s=0.0)), 0.3)
    assert time.monotonic() - began < 5


def test_what_is_refused_is_not_tried_again() -> None:
    tries = []
    with pytest.raises(InvalidConfig):
        retrying(lambda: tries.append(1) or _raise(InvalidConfig("no")), 10.0)
    assert len(tries) == 1


def test_the_pulse_file_is_touched_where_one_is_asked_for(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    pulse.beat(Settings(ready_file=ready))
    assert ready.exists()
    pulse.begin(Settings(ready_file=ready))  # a container that starts again is not ready by its old file
    assert not ready.exists()
    pulse.begin(Settings(ready_file=ready))
    pulse.begin(Settings())
    pulse.beat(Settings())


def _raise(error: Exception) -> None:
    raise error
