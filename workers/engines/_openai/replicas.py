"""Which of a model's servers gets a request: the one whose cache knows its beginning, unless it has too much to do.

Pure apart from the clock, which callers pass as `now` in monotonic seconds. `replica_watch.py` asks the servers how they are,
and `openai.py` sends the requests.

Three things keep a replica from work: an open circuit (it could not be reached), another model than ours, and its load.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from workers.engines._openai.replica_report import Report
from workers.engines.base import Load

BOUND: Final = 1.25
"""A replica may have so many times its share of the work before others take its prefixes: 1 + epsilon of the paper."""
POINTS: Final = 64
"""Points of one replica on the ring: enough that shares of prefixes differ by about an eighth."""
FULL_KV: Final = 0.9
"""The use of the key-value cache from which a server is about to interrupt requests."""
_HALF: Final = 0.5
_SILENT: Final = 0.1
_PREFIX_CHARS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Pace:
    """How often servers are asked, and how patient we are with them. All times in seconds."""

    poll_s: float = 1.0
    stale_s: float = 5.0
    """A report that is older counts as none."""
    ask_s: float = 2.0
    """The longest that one question to a server may take."""
    faults: int = 3
    """Connection faults in a row that open a replica's circuit."""
    first_pause_s: float = 5.0
    """Until the first probe of an open circuit; each that fails doubles it, up to `most_pause_s`."""
    most_pause_s: float = 60.0


class Replica:
    """One server of a model, as it was last seen."""

    def __init__(self, base: str, key: str, pace: Pace) -> None:
        self.base = base
        """Its base URL, which ends in /v1 for most servers."""
        self.key = key
        """The key of rightsize.toml that names it: what a fault tells callers, who need not know addresses."""
        self.outstanding = 0
        self.is_vllm: bool | None = None
        """None until it has been asked."""
        self.takes_priority = True
        """Whether it accepts `priority`: vLLM may refuse it where its scheduler serves in order of arrival."""
        self.misfit = False
        """Whether it is known to serve another model."""
        self.look_at: float | None = 0.0
        """When it is to be asked again for its models; None where that is known."""
        self.probe_at: float | None = None
        """When its open circuit is probed; None while it is closed."""
        self._pace = pace
        self._pause_s = pace.first_pause_s
        self._faults = 0
        self._report: Report | None = None
        self._reported_at = -math.inf
        self._heard_at = -math.inf
        self._ours_then = 0
        self._preempted_before = 0

    @property
    def is_open(self) -> bool:
        """Whether its circuit is open: it gets no requests until a probe is answered."""
        return self.probe_at is not None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a request as outstanding for as long as the block lasts."""
        self.outstanding += 1
        try:
            yield
        finally:
            self.outstanding -= 1

    def answered(self) -> None:
        """It answered a request, with whatever status: the next fault is the first of its row again."""
        self._faults = 0
        if not self.is_open:
            self._pause_s = self._pace.first_pause_s

    def unreached(self, now: float) -> bool:
        """It could not be reached; returns whether that has opened its circuit."""
        self._faults += 1
        if self.is_open or self._faults < self._pace.faults:
            return False
        self._open(now)
        return True

    def probed(self, now: float, *, ok: bool) -> None:
        """A probe of the open circuit ended: it closes, or waits twice as long for the next.

        Until a request is answered, one fault more opens it again, for twice as long as before.
        """
        if ok:
            self.probe_at, self._faults = None, self._pace.faults - 1
        else:
            self._open(now)

    def _open(self, now: float) -> None:
        self.probe_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._pace.most_pause_s)

    def heard(self, report: Report | None, now: float) -> None:
        """Keep what it says of itself; None for an answer that could not be read."""
        self._heard_at = now
        if report is not None:
            if self._report is None:
                self._preempted_before = -report.preemptions  # what was before us is not ours to react to
            elif report.preemptions < self._report.preemptions:
                self._preempted_before += self._report.preemptions  # it was started again, and counts from 0
            self._reported_at, self._ours_then = now, self.outstanding
            self._report = report
        else:
            self._reported_at = -math.inf

    def report(self, now: float) -> Report | None:
        """Its last report, unless that is out of date."""
        return self._report if now - self._reported_at <= self._pace.stale_s else None

    @property
    def preemptions(self) -> int:
        """All that it has reported since its first report, also before it was started again."""
        return self._preempted_before + (self._report.preemptions if self._report else 0)

    def work(self, now: float) -> int:
        """The requests that it has to do: ours, those that it reported of others, and those that wait once more.

        What waits counts twice, since it has no seat: of two servers of different size, the one with a queue has too much.
        """
        report = self.report(now)
        if report is None:
            return self.outstanding
        others = max(0, report.running + report.waiting - self._ours_then)
        return self.outstanding + others + report.waiting

    def weight(self, now: float) -> float:
        """Its share of the work in proportion to the others', from 0.1 to 1.

        A server that has a report to give and does not give it gets less, never more.
        """
        if not self.is_vllm:
            return 1.0
        report = self.report(now)
        if report is not None:
            return _HALF if report.kv_use >= FULL_KV else 1.0
        return _HALF if now - self._heard_at <= self._pace.stale_s else _SILENT


class Replicas:
    """All servers of one model, and the ring on which the beginnings of requests find theirs."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.all = tuple(replicas)
        points = [(_point(f"{one.base}#{n}".encode()), at) for at, one in enumerate(self.all) for n in range(POINTS)]
        self._ring = sorted(points)

    def choose(
        self, prefix: int, now: float, *, without: Collection[Replica] = (), vllm_only: bool = False
    ) -> Replica | None:
        """The server for a request that begins with `prefix`; None where none can be reached.

        Consistent hashing with bounded loads: the first replica after the prefix on the ring that has room, where the room
        of each of n replicas is ceil(c * m / n) for m requests in all and c = 1 + epsilon (Mirrokni, Thorup and
        Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018, arXiv:1608.01350, section 1); with weights, its
        share of the weights stands in for 1 / n. Since c is over 1, one always has room.
        """
        live = [one for one in self.all if not one.is_open and one not in without and (one.is_vllm or not vllm_only)]
        live = [one for one in live if not one.misfit] or live
        if len(live) < 2:
            return live[0] if live else None
        work = {one: one.work(now) for one in live}
        weights = {one: one.weight(now) for one in live}
        share = BOUND * (sum(work.values()) + 1) / sum(weights.values())
        for one in self._walk(prefix):
            if one in work and work[one] < math.ceil(share * weights[one]):
                return one
        return min(live, key=lambda one: work[one] / weights[one])  # only where rounding took the last seat

    def others(self, than: Replica) -> bool:
        """Whether another server could take a request."""
        return any(not one.is_open and not one.misfit for one in self.all if one is not than)

    def until_probe_s(self, now: float) -> float:
        """Seconds until the next server whose circuit is open is probed."""
        due = [one.probe_at for one in self.all if one.probe_at is not None]
        return max(0.0, min(due) - now) if due else 0.0

    def load(self, now: float) -> Load | None:
        """What all live servers run together; None where one of them has not reported in time, or none is live.

        One that has not answered since the start does not live yet.
        """
        live = [one for one in self.all if not one.is_open and not one.misfit and one.is_vllm is not None]
        reports = [report for one in live if (report := one.report(now)) is not None]
        if not live or len(reports) < len(live):
            return None
        return Load(
            running=sum(report.running for report in reports),
            waiting=sum(report.waiting for report in reports),
            kv_use=max(report.kv_use for report in reports),
            preemptions=sum(one.preemptions for one in self.all),
        )

    def _walk(self, prefix: int) -> Iterator[Replica]:
        """Every replica once, in the order of the ring from a prefix on."""
        start, seen = bisect_left(self._ring, (prefix, 0)), set()
        for step in range(len(self._ring)):
            _, at = self._ring[(start + step) % len(self._ring)]
            if at not in seen:
                seen.add(at)
                yield self.all[at]


def prefix_of(body: dict[str, Any]) -> int:
    """A point on the ring for a body's system prompt and first message: what a server's prefix cache would know again."""
    digest = blake2b(digest_size=8)
    messages = body.get("messages")
    if not isinstance(messages, list):
        given = body.get("prompt", body.get("input"))
        first = given[0] if isinstance(given, list) and given else given
        digest.update(str(first)[:_PREFIX_CHARS].encode("utf-8", "replace"))
        return int.from_bytes(digest.digest())
    for message in messages:
        if not isinstance(message, dict):
            break
        digest.update(_told(message.get("content")).encode("utf-8", "replace"))
        if message.get("role") not in ("system", "developer"):
            break
    return int.from_bytes(digest.digest())


def _told(content: object) -> str:
    """The text of a message and the beginning of its pictures, to a bound."""
    if isinstance(content, str):
        return content[:_PREFIX_CHARS]
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    given = (part.get("text") or part.get("image_url") or part.get("input_audio") for part in parts)
    texts = (next(iter(one.values()), "") if isinstance(one, dict) else one for one in given)
    return "\n".join(text[:_PREFIX_CHARS] for text in texts if isinstance(text, str))


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())
