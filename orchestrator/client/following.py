"""Following a batch: how often it is looked at, and where in its events a reader is that lost its connection. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx2

from orchestrator.client.answers import object_in
from orchestrator.client.call import Call, Thing, get, path_of
from orchestrator.client.patience import Patience
from orchestrator.client.shapes import Progress
from orchestrator.errors import Busy, Refused, ServiceUnavailable

ENDED: Final = frozenset({"failed", "completed", "expired", "cancelled"})
FIRST_LOOK_S: Final = 0.05
MOST_LOOK_S: Final = 2.0
AT_ONCE_S: Final = 0.2
SILENT_S: Final = 60.0
"""The service sends at least a comment every 15 s."""
MOST_EVENT_BYTES: Final = 1 << 20


class Looks:
    """How often a batch is looked at until it has ended, or the time is up."""

    def __init__(self, within_s: float | None) -> None:
        self._end = None if within_s is None else time.monotonic() + within_s
        self._next_s = FIRST_LOOK_S

    def is_late(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() > self._end

    def is_over(self, batch: Thing) -> bool:
        """Whether no further look is due."""
        return batch["status"] in ENDED or self.is_late()

    def pause_s(self) -> float:
        """How long to wait before the next look."""
        pause_s, self._next_s = self._next_s, min(MOST_LOOK_S, 1.3 * self._next_s)
        return pause_s

    def away_s(self, patience: Patience, error: Busy) -> float:
        """The same after a look that failed; raises the error where that was the last."""
        if self.is_late():
            raise error
        return patience.pause_s(error)


class Following:
    """Where the reader of a batch's events is.

    A lost connection is made again behind the last event that was heard. Where there are no events, since the service has too
    many followers or something on the way holds them back, the batch itself is looked at.
    """

    def __init__(self, batch_id: str, patience: Patience) -> None:
        self._batch_id, self._patience = batch_id, patience
        self._last_id = ""
        self._last: Progress | None = None
        self._refused = self._is_open = False
        self.by_events = True
        """Whether the next thing to do is to open the events, or to look at the batch."""
        self.ended = False
        self.pause_s = 0.0

    @property
    def call(self) -> Call:
        """Opens the events, behind the last one."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self._last_id} if self._last_id else {})}
        return Call("GET", path_of("batches", self._batch_id, "events"), again=True, within_s=SILENT_S, headers=headers)

    @property
    def look(self) -> Call:
        """Reads the batch itself."""
        return get(path_of("batches", self._batch_id))

    def opened(self, response: httpx2.Response) -> httpx2.EventSource:
        """The events of a response."""
        self._is_open = True
        return httpx2.EventSource(response, MOST_EVENT_BYTES)

    def heard(self, event: httpx2.ServerSentEvent) -> Progress | None:
        """What an event says; None where that is known already."""
        told = object_in(event)
        self._last_id = event.id
        return self._took(cast("Progress", told), ended=event.event == "ended")

    def looked(self, batch: Thing) -> Progress | None:
        """What a look at the batch says; None where that is known already."""
        self.by_events = not self._refused
        self.pause_s = MOST_LOOK_S if self._refused else AT_ONCE_S
        return self._took(progress_of(batch), ended=batch["status"] in ENDED)

    def broke_off(self) -> None:
        """The events are at their end, in order."""
        if not self.ended:
            self.lost(ServiceUnavailable("The progress of the batch broke off.", retry_after_s=0.0))

    def lost(self, error: Busy | Refused) -> None:
        """There are no events just now; raises the error where waiting does not help."""
        if self._is_open:  # what is away counts from now on: until now there were comments at least
            self._is_open = False
            self._patience.heard()
        if isinstance(error, Busy):
            self.pause_s = max(AT_ONCE_S, min(MOST_LOOK_S, self._patience.pause_s(error)))
        elif not self.by_events or self._last_id:
            raise error
        else:
            self._refused, self.pause_s = True, 0.0
        self.by_events = not self.by_events and not self._refused

    def _took(self, new: Progress, *, ended: bool) -> Progress | None:
        self._patience.heard()
        self.ended = ended
        known, self._last = self._last, new
        return None if known is not None and _same(known, new) else new


def _same(one: Progress, other: Progress) -> bool:
    return {**one, "left_s": None} == {**other, "left_s": None}


def progress_of(batch: Mapping[str, Any]) -> Progress:
    """Where a batch's object says that it stands."""
    ours = batch["rightsize"]
    return {
        "batch_id": batch["id"], "status": batch["status"], "request_counts": batch["request_counts"], "tiers": ours["tiers"],
        "cost_usd": ours["cost_usd"], "left_s": None, "paused": ours.get("paused"),
    }  # fmt: skip
