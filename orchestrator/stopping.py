"""How a process of ours hears that it is to stop, whatever its main thread is doing just then.

A signal's handler runs on the main thread between two steps of what runs there, so that it must not take a lock which that may
hold: `threading.Event.set` takes the one that `Event.wait` has for moments, and a process that is told to stop in such a moment
never does. So the handler only puts down that a signal came, in a queue that is made for it, and a thread sets the event.
"""

from __future__ import annotations

import queue
import signal
import threading
from types import FrameType


def on_signals(stop: threading.Event) -> None:
    """Set the event whenever SIGTERM or SIGINT comes, from now on; only the main thread may call this."""
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.put(number)

    def pass_on() -> None:
        while True:
            heard.get()
            stop.set()

    threading.Thread(target=pass_on, name="rightsize-signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
