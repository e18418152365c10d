"""Public ids: prefixed UUIDv7 (RFC 9562), made by the application."""

from __future__ import annotations

import os
import re
import time
from typing import Final, Literal
from uuid import UUID

from orchestrator.errors import NotFound

Kind = Literal[
    "batch", "job", "file", "key", "batch_req", "tenant", "proj", "we", "evt", "msg", "resp", "review", "cert"
]
_DIGITS: Final = re.compile(r"[0-9a-f]{32}")


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then random bits. Ids made one by one sort by the millisecond of their making."""
    stamp = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    value = stamp << 80 | 0x7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & 0x3FFFFFFFFFFFFFFF
    return UUID(int=value)


def uuid7s(count: int) -> list[str]:
    """`count` UUIDv7 as 32 hexadecimal digits, in ascending order: one call to the kernel for all of them.

    They share the millisecond of this call; the 12 bits after it count up (wrapping into later milliseconds) to keep the
    order. A caller that keeps a stock of them, as the reader of batches does, hands out ids that are older than their use:
    they are unique, and do not sort by time against those of other calls.
    """
    stamp = time.time_ns() // 1_000_000
    noise = os.urandom(8 * count)
    made = []
    for index in range(count):
        tail = int.from_bytes(noise[8 * index : 8 * index + 8], "big") & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000
        made.append(f"{stamp + (index >> 12):012x}7{index & 0xFFF:03x}{tail:016x}")
    return made


def public(kind: Kind, value: UUID | str) -> str:
    """The id as callers see it, such as `job_0198c0...`."""
    return f"{kind}_{value.hex if isinstance(value, UUID) else value}"


def parse(kind: Kind, text: str) -> UUID:
    """The UUID in a public id; raises NotFound for anything that cannot be one."""
    prefix, _, digits = text.rpartition("_")
    if prefix == kind and _DIGITS.fullmatch(digits):
        return UUID(hex=digits)
    raise NotFound(f"There is no {kind} {text[:80]!r}. Check the id: it looks like {kind}_ and 32 hexadecimal digits.")
