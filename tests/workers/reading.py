"""Reads an answer's stream off Redis as whoever waits in the API would, and puts its pieces together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis

from orchestrator.contracts import answer_stream
from workers.engines.assembly import CHAT, Assembly


@dataclass
class Read:
    """What a stream held, in its order."""

    ids: list[str] = field(default_factory=list)
    pieces: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    end: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    last: list[bool] = field(default_factory=list)
    """Of each entry whether it was the end."""

    def whole(self, endpoint: str = CHAT) -> list[dict[str, Any]]:
        """The choices that the pieces come to."""
        assembly = Assembly(endpoint)
        for piece in self.pieces:
            assembly.add(piece["choices"])
        return assembly.whole()

    @property
    def text(self) -> str:
        """Of the first choice."""
        rows = self.whole()
        return str(rows[0]["message"]["content"] or "") if rows else ""


def entries(server: redis.Redis, public_id: str, within_s: float = 30.0) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """The entries as they come, up to the end of the answer."""
    last, give_up = "0", time.monotonic() + within_s
    while True:
        assert time.monotonic() < give_up, "the stream has no end"
        found: Any = server.xread({answer_stream(public_id): last}, block=200)
        rows = (found if isinstance(found, dict) else dict(found or ())).values()
        for row in rows:
            for name, fields in row[0] if row and isinstance(row[0], list) else row:
                last = name.decode()
                yield last, fields
                if b"end" in fields:
                    return


def read(server: redis.Redis, public_id: str, within_s: float = 30.0) -> Read:
    """All of it, up to its end."""
    told = Read()
    for name, fields in entries(server, public_id, within_s):
        take(told, name, fields)
    return told


def held(server: redis.Redis, public_id: str) -> Read:
    """What the stream holds now."""
    told = Read()
    rows: Any = server.xrange(answer_stream(public_id))
    for name, fields in rows:
        take(told, name.decode(), fields)
    return told


def take(told: Read, name: str, fields: dict[bytes, bytes]) -> None:
    """Take in one entry."""
    told.ids.append(name)
    told.last.append(b"end" in fields)
    if b"end" in fields:
        told.body = orjson.loads(fields.pop(b"body") or b"{}")
        told.end = {key.decode(): value.decode() for key, value in fields.items()}
    else:
        told.pieces.append(orjson.loads(fields[b"chunk"]))
        told.attempts.append(int(fields[b"attempt"]))
