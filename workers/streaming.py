"""Streaming: the pieces of answers on their way to whoever waits in the API, over Redis.

One sender for the whole process sends what has gathered while its last send was in flight: the first piece of a quiet worker leaves
at once, and a busy one sends many answers' pieces together. Nobody waits for it, the engine least of all. What cannot be sent is
dropped, and no later piece of that answer is sent either: pieces that arrived are the beginning of the answer, and whoever reads them
takes the rest from its end, or from the row.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import orjson
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from orchestrator.broker import ANSWER_KEPT_S, HINT_WITHIN_S, plain_url
from orchestrator.contracts import MOST_PIECES, MOST_PIECES_BYTES, ClaimedJob, Usage, answer_stream, piece_id
from orchestrator.settings import Settings
from orchestrator.telemetry import log, log_fault
from orchestrator.tls import client_options
from workers.engines.answer_body import usage_body
from workers.engines.assembly import Assembly

SETTLE_S: Final = 2 * HINT_WITHIN_S
"""How long the last pieces of an answer may take: one connection and one send."""
MOST_WAITING_CHARS: Final = 1024 * 1024
"""Of one answer, while Redis does not answer."""
_LEAST_CHARS: Final = 256
"""What a piece counts for at least."""
Command = tuple[str | bytes | int, ...]


def connect(settings: Settings) -> redis.asyncio.Redis:
    """A client for hints that may be lost: it tries once, and not for long."""
    return redis.asyncio.Redis.from_url(
        plain_url(settings.require_redis()),
        **client_options(settings),
        socket_timeout=HINT_WITHIN_S,
        socket_connect_timeout=HINT_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )


class Pieces:
    """The pieces of one attempt on their way."""

    def __init__(self, job: ClaimedJob, sink: Sink) -> None:
        self._job, self._sink = job, sink
        self._stream = answer_stream(job.public_id)
        self._waiting: list[Sequence[dict[str, Any]]] = []
        self._chars = 0
        self._usage: Usage | None = None
        self._number = 0
        self._held: deque[int] = deque()
        """Bytes of each piece that the stream holds."""
        self._held_bytes = 0
        self._kept_until = 0.0
        self._flying = self._arrived = self._silent = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.cut = False
        """Whether nobody waits for the answer any more: what was said so far is all of it."""

    @property
    def said(self) -> bool:
        """Whether a reader has seen something of the answer, or may see it any moment."""
        return self._arrived or self._flying or bool(self._waiting)

    def add(self, choices: Sequence[dict[str, Any]], usage: Usage | None) -> None:
        """Send one piece as soon as it can be; `usage` is what the answer has taken up to it. Never waits."""
        if self._silent or not choices:
            return
        self._waiting.append(choices)
        self._usage = usage
        self._chars += _LEAST_CHARS + sum(map(_chars, choices))
        self._idle.clear()
        if self._chars > MOST_WAITING_CHARS:
            self.give_up()
        else:
            self._sink.wake(self)

    async def settled(self) -> None:
        """Wait until all pieces are there, or given up: what is sent now comes behind them."""
        if not self._idle.is_set():
            try:
                await asyncio.wait_for(self._idle.wait(), SETTLE_S)
            except TimeoutError:
                self.give_up()

    def take(self, now: float) -> list[Command]:
        """The commands that send what waits, by the loop's clock; none where it cannot be sent."""
        if self._silent or not self._waiting:
            return []
        choices = self._waiting[0] if len(self._waiting) == 1 else self._joined()
        self._waiting, self._chars = [], 0
        usage = None if self._usage is None else usage_body(self._usage)
        try:
            chunk = orjson.dumps({"choices": choices, "usage": usage})
        except (TypeError, ValueError):
            chunk = b""  # half a character: the whole answer is refused for that as well
        if not 0 < len(chunk) <= MOST_PIECES_BYTES:
            self.give_up()
            return []
        self._flying = True
        name = piece_id(self._job.attempt, self._number)
        self._number += 1
        sent: Command = (
            "XADD", self._stream, "MAXLEN", self._most(len(chunk)), name, "chunk", chunk, "attempt", self._job.attempt,
        )  # fmt: skip
        if now < self._kept_until:
            return [sent]
        self._kept_until = now + ANSWER_KEPT_S / 2
        return [sent, ("EXPIRE", self._stream, ANSWER_KEPT_S)]

    def arrived(self) -> None:
        """Note that Redis has what was taken."""
        self._flying, self._arrived = False, True
        self._rest()

    def failed(self) -> None:
        """Note that what was taken is lost."""
        self._flying = False
        self.give_up()

    def give_up(self) -> None:
        """Send nothing more: a later piece would leave a gap."""
        self._silent = True
        self._waiting, self._chars = [], 0
        self._rest()

    def _rest(self) -> None:
        if not self._waiting and not self._flying:
            self._idle.set()

    def _joined(self) -> list[dict[str, Any]]:
        assembly = Assembly(self._job.engine_endpoint)
        for choices in self._waiting:
            assembly.add(choices)
        return assembly.joined()

    def _most(self, size: int) -> int:
        """How many pieces the stream may hold with this one, so that they stay within both bounds."""
        self._held.append(size)
        self._held_bytes += size
        while len(self._held) > MOST_PIECES or self._held_bytes > MOST_PIECES_BYTES:
            self._held_bytes -= self._held.popleft()
        return len(self._held)


class Sink:
    """Sends the pieces of all answers of a process. All on the worker's loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._ready: dict[Pieces, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._away = False

    def open(self, job: ClaimedJob) -> Pieces:
        """The way of one attempt's pieces."""
        return Pieces(job, self)

    def wake(self, pieces: Pieces) -> None:
        """Send what waits of an answer, with what waits of others."""
        self._ready[pieces] = None
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Send nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        """Send until nothing waits."""
        while self._ready:
            now = asyncio.get_running_loop().time()
            ready, self._ready = list(self._ready), {}
            try:
                sent = [(pieces, commands) for pieces in ready if (commands := pieces.take(now))]
                replies = await self._sent([command for _, commands in sent for command in commands])
            except Exception as error:
                self._note(error)
                for pieces in ready:
                    pieces.failed()
                continue
            self._away = False
            for pieces, commands in sent:
                own, replies = replies[: len(commands)], replies[len(commands) :]
                if any(isinstance(reply, Exception) for reply in own):
                    pieces.failed()
                else:
                    pieces.arrived()

    async def _sent(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    def _note(self, error: Exception) -> None:
        """Say once that Redis is away; a fault of ours is told each time."""
        if not isinstance(error, (RedisError, OSError)):
            log_fault("pass_failed", error)
        elif not self._away:
            self._away = True
            log("broker_away", logging.WARNING, detail=f"pieces of answers are not sent ({type(error).__name__})")


def _chars(row: dict[str, Any]) -> int:
    said = row.get("delta") or row
    return sum(len(text) for text in said.values() if isinstance(text, str))
