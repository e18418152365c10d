"""The queue of Celery messages, read so that none is lost: by scripts of ours, not by Celery's consumer.

Celery's consumer takes a message by BRPOP: Redis has forgotten it before anybody else has it, and a process that is killed just
then loses it. Here one script moves a message into a hash of the intake that took it, where it stays until what came of it is in
Postgres. An intake that was not heard of for a lease is dead: another one puts its messages back. So every message is worked on
at least once, and a second time gives the same job (docs/decisions/0014).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import redis

from orchestrator import ids
from orchestrator.contracts import SUBMIT_QUEUE

BY_PRIORITY: Final = (SUBMIT_QUEUE, *(f"{SUBMIT_QUEUE}\x06\x16{number}" for number in range(1, 10)))
"""kombu's lists for the priorities 0 to 9: 0 goes first, as Celery has it on Redis."""
INTAKES: Final = f"{SUBMIT_QUEUE}.intakes"
"""Ids of intakes, by the second until which each is taken to live."""
TAKEN: Final = f"{SUBMIT_QUEUE}.taken."
"""With an intake's id behind it: the hash of what it works on."""
LATER: Final = f"{SUBMIT_QUEUE}.later"
"""Messages by the second before which they are not to be worked on."""
TAGS: Final = f"{SUBMIT_QUEUE}.tags"
"""A counter: no two messages that were taken have the same tag, also where a script ran twice since its answer was lost."""
MOST_AT_ONCE_BYTES: Final = 64 * 1024 * 1024
"""Of messages that one look takes; the last one may go beyond it."""
AT_ONCE: Final = 100
"""Messages that are put back in one go."""

# KEYS: hash, counter, intakes, lists. ARGV: number of this look, most messages, most bytes of one, own id, seconds of a lease.
# Of a message that is too large its size is kept: nobody could read it. Whoever has a message stands among the intakes.
TAKE: Final = f"""
local got, bytes = {{}}, 0
for i = 4, #KEYS do
    while #got < 2 * tonumber(ARGV[2]) and bytes < {MOST_AT_ONCE_BYTES} do
        local item = redis.call('RPOP', KEYS[i])
        if not item then break end
        if #item > tonumber(ARGV[3]) then item = '!' .. #item end
        local tag = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2])
        redis.call('HSET', KEYS[1], tag, item)
        got[#got + 1], got[#got + 2] = tag, item
        bytes = bytes + #item
    end
end
if #got > 0 and not redis.call('ZSCORE', KEYS[3], ARGV[4]) then
    redis.call('ZADD', KEYS[3], tonumber(redis.call('TIME')[1]) + tonumber(ARGV[5]), ARGV[4])
end
return got
"""
# KEYS: hash, later. ARGV: tag, message, seconds.
PUT_OFF: Final = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[2], tonumber(redis.call('TIME')[1]) + tonumber(ARGV[3]), ARGV[2])
end
"""
# KEYS: hash, queue. ARGV: tags.
PUT_BACK: Final = """
for _, tag in ipairs(ARGV) do
    local item = redis.call('HGET', KEYS[1], tag)
    if item then redis.call('RPUSH', KEYS[2], item) end
    redis.call('HDEL', KEYS[1], tag)
end
"""
# KEYS: intakes, later, queue. ARGV: beginning of the hashes' names, own id, seconds of a lease, most messages.
TEND: Final = """
local clock, lease, lost = redis.call('TIME'), tonumber(ARGV[3]), 0
local now = clock[1] + clock[2] / 1e6
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0) < now + lease * 2 / 3 then
    redis.call('ZADD', KEYS[1], now + lease, ARGV[2])
end
for _, intake in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 10)) do
    for _, tag in ipairs(redis.call('HKEYS', ARGV[1] .. intake)) do
        redis.call('RPUSH', KEYS[3], redis.call('HGET', ARGV[1] .. intake, tag))
        lost = lost + 1
    end
    redis.call('DEL', ARGV[1] .. intake)
    redis.call('ZREM', KEYS[1], intake)
end
for _, item in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[4])) do
    redis.call('RPUSH', KEYS[3], item)
    redis.call('ZREM', KEYS[2], item)
end
return lost
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that this intake works on."""

    tag: str
    raw: bytes


class Queue:
    """One intake's side of the queue. Every method raises RedisError where Redis does not answer; threads may share it."""

    def __init__(self, client: redis.Redis, most_bytes: int, lease_s: float) -> None:
        self._redis = client
        self._most_bytes = most_bytes
        self._lease_s = lease_s
        self._id = ids.uuid7().hex
        self._hash = TAKEN + self._id
        self._looks = 0
        self._looked = 0
        """The number of the last look that is over."""
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def bytes_held(self) -> int:
        """The size of all messages that are worked on."""
        with self._lock:
            return sum(self._held.values())

    def take(self, most: int) -> list[Taken]:
        """Take up to `most` messages, those of the first priority first; only one thread may take."""
        self._looks += 1
        try:
            got = self._eval(
                TAKE,
                [self._hash, TAGS, INTAKES, *BY_PRIORITY],
                self._looks,
                most,
                self._most_bytes,
                self._id,
                self._lease_s,
            )
            found = [Taken(tag.decode(), raw) for tag, raw in zip(got[::2], got[1::2], strict=True)]
            with self._lock:
                self._held.update({one.tag: len(one.raw) for one in found})
        finally:
            self._looked = self._looks
        return found

    def done(self, one: Taken) -> None:
        """Forget a message whose work is done."""
        self._redis.hdel(self._hash, one.tag)

    def put_off(self, one: Taken, raw: bytes, seconds: float) -> None:
        """Give a message back, as `raw`, to be taken again after so many seconds."""
        self._eval(PUT_OFF, [self._hash, LATER], one.tag, raw, f"{seconds:.3f}")

    def let_go(self, one: Taken) -> None:
        """Hold a message no longer; if it is not done, it is put back before long."""
        with self._lock:
            self._held.pop(one.tag, None)

    def tend(self) -> int:
        """Say that this intake lives, and put back what is due, and what dead intakes had; returns how much those had."""
        return int(self._eval(TEND, [INTAKES, LATER, BY_PRIORITY[0]], TAKEN, self._id, self._lease_s, AT_ONCE))

    def put_back_strays(self) -> int:
        """Put back what is ours by the hash and that nobody holds: a look's answer was lost. Returns how many."""
        looked = self._looked
        tags: Any = self._redis.hkeys(self._hash)
        with self._lock:
            strays = [tag for tag in tags if int(tag.partition(b":")[0]) <= looked and tag.decode() not in self._held]
        if strays:
            self._eval(PUT_BACK, [self._hash, BY_PRIORITY[0]], *strays[:AT_ONCE])
        return len(strays)

    def leave(self) -> None:
        """Put back everything that is left, and be gone."""
        with self._lock:
            self._held.clear()
        while self.put_back_strays() > AT_ONCE:
            pass
        self._redis.zrem(INTAKES, self._id)

    def _eval(self, script: str, keys: list[str], *arguments: Any) -> Any:
        return self._redis.eval(script, len(keys), *keys, *arguments)
