"""The gate to one engine: how many requests may be in it at once, interactive ones first. All on the worker's loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from workers.room import Ask, Room

RESERVED_SHARE: Final = 0.1
"""Of a model's slots, kept for interactive work: an engine that is full frees no slot for a request that is in a hurry.

On vLLM with a tiny model this took the median time to the first token from 280 to 105 ms under bulk work.
"""


class Gate:
    """Lets requests in, bulk ones up to a limit that may change and while there is room, interactive ones up to all slots."""

    def __init__(self, slots: int, reserved_share: float = RESERVED_SHARE, room: Room | None = None) -> None:
        """`room` is there for an engine whose cache is known."""
        self.slots = slots
        self.room = room
        self.most_bulk = max(1, slots - (max(1, round(slots * reserved_share)) if reserved_share else 0))
        self.bulk_limit = self.most_bulk
        self.bulk = 0
        """Bulk requests inside."""
        self.interactive = 0
        self._bulk_waiting: deque[Turn] = deque()
        self._now_waiting: deque[Turn] = deque()

    @property
    def inside(self) -> int:
        """Requests that were let in and are not out again."""
        return self.bulk + self.interactive

    @property
    def waiting(self) -> int:
        """Bulk requests before the gate."""
        return len(self._bulk_waiting)

    def limit_bulk(self, limit: int) -> None:
        """Let so many bulk requests in from now on; those that are inside stay."""
        self.bulk_limit = min(max(1, limit), self.most_bulk)
        self._admit()

    def passing(self, *, interactive: bool, asked: Ask | None = None) -> Pass:
        """A pass for one request: `async with` waits for its turn. `asked` is what it is expected to take of the cache."""
        return Pass(self, interactive=interactive, asked=asked)

    def _may_enter(self, asked: Ask | None, *, interactive: bool) -> bool:
        if self.inside >= self.slots:
            return False
        if interactive:
            return True
        return self.bulk < self.bulk_limit and not self._now_waiting and self._has_room(asked)

    def _has_room(self, asked: Ask | None) -> bool:
        return self.room is None or asked is None or self.room.fits(asked, time.monotonic())

    def _count(self, by: int, asked: Ask | None, *, interactive: bool) -> None:
        if interactive:
            self.interactive += by
        else:
            self.bulk += by
        if self.room is None or asked is None:
            return
        if by > 0:
            self.room.enter(asked, time.monotonic())
        else:
            self.room.leave(asked)

    async def _enter(self, asked: Ask | None, *, interactive: bool) -> None:
        waiting = self._now_waiting if interactive else self._bulk_waiting
        if not waiting and self._may_enter(asked, interactive=interactive):
            self._count(1, asked, interactive=interactive)
            return
        turn = Turn(asyncio.get_running_loop().create_future(), asked)
        waiting.append(turn)
        try:
            await turn.comes
        except asyncio.CancelledError:
            if turn.comes.done() and not turn.comes.cancelled():
                self._leave(asked, interactive=interactive)  # let in and called off at once
            elif turn in waiting:  # or one that left in the same step has passed over it already
                waiting.remove(turn)
            raise

    def _leave(self, asked: Ask | None, *, interactive: bool) -> None:
        self._count(-1, asked, interactive=interactive)
        self._admit()

    def _admit(self) -> None:
        for waiting, interactive in ((self._now_waiting, True), (self._bulk_waiting, False)):
            while waiting and self._may_enter(waiting[0].asked, interactive=interactive):
                turn = waiting.popleft()
                if not turn.comes.done():
                    self._count(1, turn.asked, interactive=interactive)
                    turn.comes.set_result(None)


@dataclass(eq=False, slots=True)
class Turn:
    """One request before the gate."""

    comes: asyncio.Future[None]
    asked: Ask | None


class Pass:
    """One request's way in and out."""

    __slots__ = ("_asked", "_gate", "_interactive")

    def __init__(self, gate: Gate, *, interactive: bool, asked: Ask | None) -> None:
        self._gate, self._interactive, self._asked = gate, interactive, asked

    async def __aenter__(self) -> Self:
        await self._gate._enter(self._asked, interactive=self._interactive)  # noqa: SLF001 - two halves of one thing
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gate._leave(self._asked, interactive=self._interactive)  # noqa: SLF001
