"""A process that is told to stop does, whatever its main thread is doing just then."""

from __future__ import annotations

import subprocess
import sys

import pytest

IN_THE_MIDDLE = """
import signal, sys, threading
from orchestrator.stopping import on_signals

stop = threading.Event()
on_signals(stop)
with stop._cond:  # as `wait` has it for a moment, on this very thread
    signal.raise_signal(int(sys.argv[1]))
assert stop.wait(10), "never told"
stop.clear()
signal.raise_signal(int(sys.argv[1]))
assert stop.wait(10), "the second was not heard"
"""


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_is_heard_where_the_lock_of_the_event_is_held_and_again_after(number: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IN_THE_MIDDLE, str(number)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
