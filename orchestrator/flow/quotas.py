"""Quotas: how much an owner may ask for in a minute, have queued, and keep in files. Where none is set, nothing is looked up.

A rate is a bucket of one minute's worth that fills evenly: a caller may use all of it at once, and then as it comes back. The
buckets lie in Redis, where all processes of the API share them; while Redis is away each keeps to its own, which is stricter than
none. What runs at once is bounded by the dispatcher (`bounds.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from orchestrator.contracts import Owner
from orchestrator.errors import FilesFull, InvalidRequest, OverQuota, TooLarge
from orchestrator.flow.context import Context
from orchestrator.store import limits
from orchestrator.store.limits import Quota

MINUTE_S: Final = 60.0
KEPT_S: Final = 120
"""A bucket that was not touched for so long is full again, and is forgotten."""
MOST_LOCAL: Final = 10_000
QUEUED_RETRY_S: Final = 10.0
BYTES_PER_TOKEN: Final = 4
UNTOLD_TOKENS: Final = 200
"""What an answer counts to a quota where the request does not say how long it may be."""

# KEYS are buckets; ARGV holds for each its size and what is to be taken of it. All are taken from, or none.
TAKE: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local levels, wait = {}, 0
for i, key in ipairs(KEYS) do
    local size, cost = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local known = redis.call('HMGET', key, 'level', 'at')
    local level = size
    if known[1] then level = math.min(size, tonumber(known[1]) + (now - tonumber(known[2])) * size / 60) end
    levels[i] = level
    if level < cost then wait = math.max(wait, (math.min(cost, size) - level) * 60 / size) end
end
local told = {tostring(wait)}
for i, key in ipairs(KEYS) do
    local size, cost = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    if wait == 0 then
        levels[i] = levels[i] - cost
        redis.call('HSET', key, 'level', tostring(levels[i]), 'at', tostring(now))
        redis.call('EXPIRE', key, 120)
    end
    told[i + 1] = tostring(levels[i])
end
return told
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One rate of one scope, and what a request takes of it."""

    key: str
    kind: str
    """`requests` or `tokens`."""
    size: int
    """What a minute allows."""
    cost: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an owner stands with its narrowest bucket of each kind."""

    size: int
    left: float

    @property
    def reset_s(self) -> float:
        """Until the bucket is full."""
        return (self.size - self.left) * MINUTE_S / self.size


@dataclass(slots=True)
class LocalBuckets:
    """Buckets of this process alone, for while Redis is away."""

    levels: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, buckets: Sequence[Bucket], now: float) -> tuple[float, list[float]]:
        """Seconds to wait (0 where it was taken), and the level of each bucket; `now` is on the monotonic clock."""
        levels, wait_s = [], 0.0
        for one in buckets:
            level, at = self.levels.get(one.key, (float(one.size), now))
            level = min(one.size, level + (now - at) * one.size / MINUTE_S)
            levels.append(level)
            if level < one.cost:
                wait_s = max(wait_s, (min(one.cost, one.size) - level) * MINUTE_S / one.size)
        if wait_s == 0:
            levels = [level - one.cost for level, one in zip(levels, buckets, strict=True)]
            if len(self.levels) > MOST_LOCAL:
                self.levels.clear()
            self.levels.update({one.key: (level, now) for one, level in zip(buckets, levels, strict=True)})
        return wait_s, levels


_local: Final = LocalBuckets()


def tokens_of(body: Mapping[str, Any]) -> int:
    """About how many tokens a request may take, for a quota: its text, and as much as its answers may have.

    The body was not checked yet: what makes no sense in it counts as nothing, and is refused later.
    """
    most = next(
        (body[name] for name in ("max_completion_tokens", "max_tokens", "max_output_tokens") if name in body), None
    )
    answer = most if isinstance(most, int) else UNTOLD_TOKENS
    hints, prompts = body.get("rightsize"), body.get("prompt")
    counts = (body.get("n"), hints.get("samples") if isinstance(hints, dict) else None)
    answers = len(prompts) if isinstance(prompts, list) else 1
    for count in counts:
        answers *= count if isinstance(count, int) and count > 0 else 1
    return len(orjson.dumps(body)) // BYTES_PER_TOKEN + max(0, answer) * answers


def take(context: Context, owner: Owner, tokens: int) -> dict[str, str]:
    """Count a request and its tokens; returns OpenAI's rate headers, none where no rate is set.

    Raises OverQuota that says when there is room, or InvalidRequest for a request that no minute has room for.
    """
    buckets = list(_buckets(context.quotas(owner.tenant_id), owner, tokens))
    if not buckets:
        return {}
    for one in buckets:
        if one.cost > one.size:
            raise InvalidRequest(
                f"This request alone takes about {one.cost} {one.kind}, and {one.size} a minute are allowed: sending it again does "
                "not help. Lower max_tokens, split it, or have the quota raised (`rightsize quotas set`)."
            )
    wait_s, levels = _taken(context, buckets)
    headers = headers_of(buckets, levels)
    if wait_s > 0:
        kind = next(one.kind for one, level in zip(buckets, levels, strict=True) if level < one.cost)
        error = OverQuota(
            f"The quota of {kind} a minute is used up. Try again in {math.ceil(wait_s)} s, or have it raised.", retry_after_s=wait_s
        )  # fmt: skip
        error.headers = headers
        raise error
    return headers


def _taken(context: Context, buckets: Sequence[Bucket]) -> tuple[float, list[float]]:
    given = [part for one in buckets for part in (one.size, one.cost)]
    try:
        told: Any = context.broker.redis.eval(TAKE, len(buckets), *(one.key for one in buckets), *given)
    except RedisError:
        return _local.take(buckets, time.monotonic())
    return float(told[0]), [float(level) for level in told[1:]]


def headers_of(buckets: Sequence[Bucket], levels: Sequence[float]) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*` headers, of the bucket of each kind that has the smallest share left."""
    narrowest: dict[str, Standing] = {}
    for one, level in zip(buckets, levels, strict=True):
        now = Standing(one.size, max(0.0, level))
        if one.kind not in narrowest or now.left / now.size < narrowest[one.kind].left / narrowest[one.kind].size:
            narrowest[one.kind] = now
    return {
        f"x-ratelimit-{name}-{kind}": value
        for kind, standing in narrowest.items()
        for name, value in (
            ("limit", str(standing.size)), ("remaining", str(int(standing.left))), ("reset", f"{standing.reset_s:.3f}s")
        )
    }  # fmt: skip


def _buckets(quotas: Mapping[tuple[str, int], Quota], owner: Owner, tokens: int) -> Iterator[Bucket]:
    for scope, scope_id in _scopes(owner):
        quota = quotas.get((scope, scope_id))
        if quota is None:
            continue
        for kind, size, cost in (
            ("requests", quota.requests_per_minute, 1), ("tokens", quota.tokens_per_minute, max(1, tokens))
        ):  # fmt: skip
            if size is not None:
                yield Bucket(f"rightsize.rate.{scope}:{scope_id}:{kind}", kind, size, cost)


def _scopes(owner: Owner) -> tuple[tuple[str, int], ...]:
    return ("tenant", owner.tenant_id), ("project", owner.project_id), ("key", owner.api_key_id)


def check_jobs_queued(context: Context, session: Session, owner: Owner, more: int) -> None:
    """Raise OverQuota where an owner would have more jobs queued or running than it may; InvalidRequest where that can never fit."""
    quotas = context.quotas(owner.tenant_id, session)
    for scope, scope_id in _scopes(owner):
        most = quotas.get((scope, scope_id), Quota()).jobs_queued
        if most is None:
            continue
        if more > most:
            raise InvalidRequest(
                f"This would add {more} jobs, and the {scope} may have {most} that have not ended: sending it again does not help. "
                "Split it, or have the quota raised."
            )
        open_now = limits.open_jobs(
            session, scope, scope_id, owner.tenant_id, [m.name for m in context.config.fleet.models]
        )
        if open_now + more > most:
            raise OverQuota(
                f"The {scope} has {open_now} jobs that have not ended, and may have {most}; this would add {more}. "
                "Wait for some to end, submit less, or have the quota raised.",
                retry_after_s=QUEUED_RETRY_S,
            )


def check_file_bytes(session: Session, owner: Owner, size: int) -> None:
    """Raise FilesFull where an owner would keep more bytes in files than it may; TooLarge where the file alone has more."""
    quotas = limits.quotas(session, owner.tenant_id)
    for scope, scope_id in _scopes(owner):
        most = quotas.get((scope, scope_id), Quota()).file_bytes
        if most is None:
            continue
        if size > most:
            raise TooLarge(
                f"The file has {size} bytes, and the {scope} may keep {most} bytes in files: sending it again does not help. "
                "Split it, or have the quota raised."
            )
        project, key = (scope_id if scope == "project" else None), (scope_id if scope == "key" else None)
        kept = limits.file_bytes(session, owner.tenant_id, project_id=project, key_id=key)
        if kept + size > most:
            raise FilesFull(
                f"The {scope} keeps {kept} bytes in files, and may keep {most}; this file has {size}. Delete files "
                "(DELETE /v1/files/ID), or have the quota raised: until then sending it again does not help."
            )
