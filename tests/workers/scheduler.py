"""A model of vLLM's scheduler and its cache in blocks: enough of it to count what is preempted."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.contracts import Usage
from workers.room import Ask, Room

BLOCK = 32
BLOCKS = 512
STEP_S = 0.006
LOOK_S = 0.25


@dataclass(eq=False, slots=True)
class Request:
    """One request in the engine."""

    asked: Ask
    prompt: int
    length: int
    """Tokens that it writes."""
    since: float
    written: int = 0

    @property
    def blocks(self) -> int:
        return -(-(self.prompt + self.written) // BLOCK)


class Engine:
    """Runs what its cache holds; when a step needs a block more than there are, the youngest goes back and waits."""

    def __init__(self) -> None:
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.preempted = 0

    @property
    def free(self) -> int:
        return BLOCKS - sum(request.blocks for request in self.running)

    def step(self) -> list[Request]:
        """One token for each that runs; those that ended."""
        while self.waiting and self.waiting[0].blocks <= self.free:
            self.running.append(self.waiting.pop(0))
        for request in list(self.running):
            if request in self.running:
                self._grow(request)
        ended = [request for request in self.running if request.written >= request.length]
        self.running = [request for request in self.running if request.written < request.length]
        return ended

    def _grow(self, request: Request) -> None:
        request.written += 1
        while self.free < 0 and self.running[-1] is not request:
            self.waiting.insert(0, self.running.pop())
            self.preempted += 1


def run(room: Room, rows: list[tuple[int, int, int]]) -> tuple[Engine, float]:
    """Rows of (characters, tokens of the prompt, tokens of the answer) through room and engine; seconds that it took.

    All wait before the gate from the start, as those of a batch do.
    """
    engine, now, looked = Engine(), 0.0, 0.0
    left = [Request(room.ask(chars, length), prompt, length, 0.0) for chars, prompt, length in reversed(rows)]
    while left or engine.running or engine.waiting:
        while left and room.fits(left[-1].asked, now):
            request = left.pop()
            request.since = now
            room.enter(request.asked, now)
            engine.waiting.append(request)
        for request in engine.step():
            room.leave(request.asked)
            room.learn(request.asked, Usage(request.prompt, 0, request.written), now - request.since)
        now += STEP_S
        if now - looked >= LOOK_S:
            looked = now
            room.compare((BLOCKS - engine.free) * BLOCK, now, overfull=bool(engine.waiting))
    return engine, now
