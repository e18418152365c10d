"""The way back of an interactive answer: a Redis stream, and the row for whoever misses it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import orjson
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from orchestrator import ids
from orchestrator.blobs import BlobStore
from orchestrator.broker import SOCKET_TIMEOUT_S, plain_url
from orchestrator.contracts import REPLIES, TERMINAL, JobState, answer_stream
from orchestrator.pricing import CHARGES, ZERO
from orchestrator.settings import Settings
from orchestrator.store import jobs
from orchestrator.store.session import Database
from orchestrator.tls import client_options

MOST_FOLLOWING: Final = 500
"""Answers that are followed piece by piece, each on a connection; callers beyond it look at their row twice a second."""
LOOK_S: Final = 0.5
"""Between two looks at the row while Redis cannot be asked."""
READ_AT_ONCE: Final = 256
READ_MS: Final = 5_000
"""How long one read waits for the next answer: less than the client waits for its server."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of an interactive job: a body, or why there is none."""

    body: bytes | None
    attempts: int
    cost_usd: str
    simulated: bool
    status: int = 200
    code: str = ""
    message: str = ""
    tier: str = ""
    model: str = ""
    """Who answered, where that may be another than who was asked first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer that is still being written."""

    attempt: int
    number: int
    choices: Sequence[Mapping[str, Any]]

    @classmethod
    def pause(cls) -> Self:
        """Nothing came for a while."""
        return cls(0, -1, ())

    @property
    def is_pause(self) -> bool:
        """Whether it is none."""
        return self.number < 0


class Answers:
    """The way back: one stream for all that this process asks and waits for whole, and one for each answer that comes in pieces."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"{REPLIES}{ids.uuid7().hex}"
        """The stream that workers send whole answers to."""
        self._redis = redis.asyncio.Redis.from_url(
            plain_url(settings.require_redis()),
            **client_options(settings),
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_timeout=2 * SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=MOST_FOLLOWING + 8,
        )
        self._places = asyncio.Semaphore(MOST_FOLLOWING)
        self._expected: dict[bytes, asyncio.Future[Reply | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._away = self._closed = False

    def expect(self, job: UUID) -> None:
        """Keep the answer to a job that is about to be asked for, as soon as it comes, until `forget`."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        self._expected[job.hex.encode()] = asyncio.get_running_loop().create_future()

    @property
    def expecting(self) -> int:
        """How many answers are waited for whole."""
        return len(self._expected)

    def forget(self, job: UUID) -> None:
        """Nobody waits for a job any more."""
        self._expected.pop(job.hex.encode(), None)

    async def wait(self, job: UUID, within_s: float) -> Reply | None:
        """An expected answer as soon as its worker has sent it; None if it is not there after a while, or came incomplete."""
        expected = self._expected.get(job.hex.encode())
        if expected is None or self._away:
            await asyncio.sleep(min(LOOK_S, within_s))
            return None
        await asyncio.wait([expected], timeout=within_s)
        if not expected.done():
            return None
        self.forget(job)
        return expected.result()

    async def _read(self) -> None:
        """Hand answers to those who expect them, for as long as this process lives. What was read does not stay in Redis."""
        last = "0-0"
        while not self._closed:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.xtrim(self.address, minid=_behind(last), approximate=False)
                    pipe.xread({self.address: last}, count=READ_AT_ONCE, block=READ_MS)
                    _, found = await pipe.execute()
                self._away = False
            except (RedisError, OSError):
                self._away = True
                await asyncio.sleep(LOOK_S)
                continue
            for name, fields in _all(found):
                last = name.decode()
                expected = self._expected.get(fields.get(b"job", b""))
                if expected is not None and not expected.done():
                    expected.set_result(_reply(fields))

    async def follow(self, job: UUID, after: str, within_s: float) -> tuple[str, list[Piece | Reply]]:
        """What came on a stream behind the entry `after`, and the last entry that was read; nothing after a while without any."""
        if self._places.locked():
            await asyncio.sleep(min(LOOK_S, within_s))
            return after, []
        async with self._places:
            try:
                block_ms = max(1, int(within_s * 1000))
                found: Any = await self._redis.xread({answer_stream(job.hex): after}, count=256, block=block_ms)
            except (RedisError, OSError):
                await asyncio.sleep(min(LOOK_S, within_s))
                return after, []
        told: list[Piece | Reply] = []
        for name, fields in _all(found):
            after = name.decode()
            one = _piece(after, fields) if b"chunk" in fields else _reply(fields)
            if one is not None:
                told.append(one)
        return after, told

    async def ping(self) -> None:
        """Raise RedisError when the server does not answer."""
        await self._redis.ping()

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True  # a cancellation that meets a reply is taken by the client for a timeout
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._redis.aclose()


def _behind(name: str) -> str:
    """The least name that an entry behind another may have."""
    time_ms, _, number = name.partition("-")
    return f"{time_ms}-{int(number) + 1}"


def _all(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of one stream, in either form that redis-py gives."""
    if not found:
        return []
    entries = next(iter(found.values())) if isinstance(found, dict) else found[0][1]
    while entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], (list, tuple)):
        entries = entries[0]
    return [(entry[0], entry[1]) for entry in entries]


def _piece(name: str, fields: Mapping[bytes, bytes]) -> Piece | None:
    """A piece of an answer; its place stands in its name (`contracts.piece_id`)."""
    attempt, _, number = name.partition("-")
    try:
        told = orjson.loads(fields[b"chunk"])
        return Piece(int(attempt), int(number), told["choices"])
    except (ValueError, KeyError, TypeError):
        return None


def _reply(fields: dict[bytes, bytes]) -> Reply | None:
    """A reply from what the worker sent, or None where it did not say everything: the row does."""
    status = fields.get(b"status", b"")
    if not status.isdigit() or not fields.get(b"attempt", b"").isdigit():
        return None
    body = fields.get(b"body") or None
    if status == b"200" and (body is None or b"cost_usd" not in fields):
        return None
    return Reply(
        body=body,
        attempts=int(fields[b"attempt"]),
        cost_usd=fields.get(b"cost_usd", b"0").decode(),
        simulated=fields.get(b"simulated") == b"1",
        status=int(status),
        code=fields.get(b"code", b"").decode("utf-8", "replace"),
        message=fields.get(b"message", b"").decode("utf-8", "replace"),
    )


ENDED_AS: Final = {JobState.CANCELLED: 409, JobState.EXPIRED: 504}
STATUS_OF: Final[Mapping[str, int]] = {
    "bad_request": 400,
    "unsupported_endpoint": 400,
    "rate_limited": 429,
    "wrong_form": 422,
    "engine_closed": 503,
    **dict.fromkeys(("timeout", "deadline", "connect_timeout", "first_byte_timeout", "upstream_timeout"), 504),
}
"""HTTP statuses of fault codes: the row keeps the code alone. Any other is a 502."""


def stored_reply(database: Database, blobs: BlobStore, tenant_id: int, job: UUID) -> Reply | None:
    """The reply from the row, once the job has ended."""
    with database.unit_of_work(tenant_id) as session:
        row = jobs.find(session, tenant_id, job)
        if row is None or JobState(row.state) not in TERMINAL:
            return None
        result = jobs.result(session, row.id, row.stored_on) if row.state == JobState.SUCCEEDED else None
        charges = [t.amount_usd for t in jobs.transfers(session, row.id) if t.kind in CHARGES]
        simulated = any(attempt.simulated for attempt in jobs.attempts(session, row.id))
    cost = f"{sum(charges, start=ZERO):f}"
    if result is not None:
        body = blobs.get(result.blob_key) if result.blob_key else result.body
        return Reply(body, row.attempts, cost, simulated, tier=row.tier, model=row.model)
    status = ENDED_AS.get(JobState(row.state)) or STATUS_OF.get(row.fault_code, 502)
    return Reply(
        None,
        row.attempts,
        cost,
        simulated,
        status,
        row.fault_code or "",
        row.fault_message or "",
        tier=row.tier,
        model=row.model,
    )
