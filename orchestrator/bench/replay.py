"""Sends the requests of a trace at their times, whether or not earlier ones have come back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from orchestrator.bench.figures import Sent
from orchestrator.bench.trace import Arrival
from orchestrator.client import AsyncRightsize
from orchestrator.contracts import Tier
from orchestrator.errors import RightsizeError

WORDS: Final = (
    "all", "and", "blue", "boat", "can", "day", "door", "each", "far", "fish", "give", "good", "hand", "hill", "home", "king",
    "lake", "long", "make", "moon", "new", "now", "old", "path", "rain", "red", "sea", "ship", "snow", "tree", "wind", "year",
)  # fmt: skip
"""Short words: about a token each for most tokenizers, and with their blank about four letters, as the service estimates."""
LOOK_S: Final = 0.5


@dataclass(slots=True)
class Replay:
    """A replay as it goes on: what a person who interrupts it gets as well."""

    arrivals: Sequence[Arrival]
    speed: float
    tier: Tier | None
    most: int
    """Requests outstanding at once; one that comes when there are so many is not sent, and counted."""
    sent: list[Sent] = field(default_factory=list)
    due: int = 0
    not_sent: int = 0
    elapsed_s: float = 0.0
    interrupted: bool = False

    @property
    def unanswered(self) -> int:
        """Sent, and neither answered nor failed when it ended."""
        return self.due - self.not_sent - len(self.sent)

    async def run(self, client: AsyncRightsize, stop: asyncio.Event, on_look: Callable[[Replay], None]) -> None:
        """Run to the last answer, or until `stop` is set; what is outstanding then is given up."""
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        looking = asyncio.create_task(self._look(began, on_look))
        try:
            for number, arrival in enumerate(self.arrivals):
                at = began + arrival.at_s / self.speed
                if await _stopped(stop, at - time.monotonic()):
                    break
                self.due += 1
                if len(running) >= self.most:
                    self.not_sent += 1
                    continue
                task = asyncio.create_task(self._send(client, number, arrival, at))
                running.add(task)
                task.add_done_callback(running.discard)
            await _ended(running, stop)
        finally:
            self.interrupted = stop.is_set()
            self.elapsed_s = time.monotonic() - began
            looking.cancel()
            for task in tuple(running):
                task.cancel()
            await asyncio.gather(looking, *running, return_exceptions=True)

    async def _send(self, client: AsyncRightsize, number: int, arrival: Arrival, at: float) -> None:
        late_s = max(0.0, time.monotonic() - at)
        wanted = self.tier or arrival.tier
        try:
            status, answer = await client.attempt(body_of(number, arrival, wanted))
        except RightsizeError as error:
            status, answer = error.status, {"error": {"code": error.code}}
        latency_s = time.monotonic() - at
        self.sent.append(_sent(arrival.at_s / self.speed, late_s, latency_s, status, answer, wanted))

    async def _look(self, began: float, on_look: Callable[[Replay], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.elapsed_s = time.monotonic() - began
            on_look(self)


def body_of(number: int, arrival: Arrival, tier: Tier | None) -> dict[str, Any]:
    """The request's body: made-up words of about the given length, and as many tokens of answer at most."""
    return {
        "model": str(tier or "auto"),
        "messages": [{"role": "user", "content": prompt(number, arrival.input_tokens)}],
        "max_tokens": arrival.output_tokens,
    }


def prompt(number: int, tokens: int) -> str:
    """Words of about so many tokens, always the same for a number; no two numbers begin alike, so that no cache helps."""
    dice = random.Random(number)  # noqa: S311 - any words will do
    return " ".join([str(number), *dice.choices(WORDS, k=max(1, tokens - 1))])


def _sent(
    arrival_s: float, late_s: float, latency_s: float, status: int, answer: dict[str, Any], wanted: Tier | None
) -> Sent:  # fmt: skip
    if status != 200:
        error = answer.get("error")
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
        return Sent(arrival_s, late_s, latency_s, status, code or f"http_{status}", tier=str(wanted or ""))
    ours, usage = answer.get("rightsize") or {}, answer.get("usage") or {}
    return Sent(
        arrival_s,
        late_s,
        latency_s,
        status,
        tier=str(ours.get("tier", "")),
        model=str(ours.get("model", "")),
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        cost_usd=_money(ours.get("cost_usd")),
        simulated=ours.get("simulated") is True,
    )


def _money(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


async def _stopped(stop: asyncio.Event, within_s: float) -> bool:
    """Wait so long, or until it is to stop."""
    if within_s <= 0:
        await asyncio.sleep(0)  # what is late must not keep the answers from being read
        return stop.is_set()
    try:
        await asyncio.wait_for(stop.wait(), within_s)
    except TimeoutError:
        return False
    return True


async def _ended(running: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    try:
        while running and not stop.is_set():
            await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
