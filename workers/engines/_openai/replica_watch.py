"""Asks a model's servers how they are: once at the start for what they serve, then about once a second for their load.

One task for each engine, bounded in time and size. Only vLLM is asked again and again (it says what it is in `/v1/models`,
or has its metrics): a hosted service is left alone until it cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from orchestrator.errors import EngineFault
from orchestrator.fleet import Model
from orchestrator.telemetry import log, log_fault
from workers.engines._openai.http import Wire
from workers.engines._openai.replica_report import Listing, Report, listing_in, report_in
from workers.engines._openai.replicas import Pace, Replica

MAX_METRICS_BYTES: Final = 2 * 1024 * 1024
MAX_LISTING_BYTES: Final = 4 * 1024 * 1024
_LOOK_AGAIN: Final = 60.0
"""Seconds until a server with another model is asked whether that has changed."""
_SHOWN: Final = 5


class Watch:
    """Follows the servers of one model; the requests of an engine tell it what they met."""

    def __init__(self, model: Model, name: str, replicas: tuple[Replica, ...], wire: Wire, pace: Pace) -> None:
        self._model = model
        self._name = name
        self._replicas = replicas
        self._wire = wire
        self._pace = pace
        self._task: asyncio.Task[None] | None = None
        self._now = asyncio.get_running_loop().time
        self._said: dict[Replica, str] = {}
        self._pauses: dict[Replica, float] = {}
        self._unreadable: set[Replica] = set()

    async def start(self) -> None:
        """Ask every server once, then go on in the background. One that does not answer may come later."""
        await asyncio.gather(*map(self.look, self._replicas))
        self._task = asyncio.create_task(self._follow(), name=f"watch-{self._model.name}")

    async def close(self) -> None:
        """End the task, and the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._wire.close()

    def unreached(self, replica: Replica, detail: str) -> None:
        """Count a fault of the connection; says so when it opens the circuit."""
        if replica.unreached(self._now()):
            log("replica_away", logging.WARNING, model=self._model.name, replica=replica.base, detail=detail)

    def misfit(self, replica: Replica, detail: str) -> None:
        """Keep requests from a server that has answered with another model, until it is asked again."""
        replica.misfit, replica.look_at = True, self._now() + _LOOK_AGAIN
        self._say(replica, "no", detail)

    async def look(self, replica: Replica) -> bool:
        """Ask a server what it serves and how it is; returns whether it answered at all."""
        try:
            listing = listing_in(await self._asked(f"{replica.base}/models", MAX_LISTING_BYTES))
        except EngineFault as fault:
            if not _is_answer(fault):
                self._no_answer(replica, fault)
                return False
            listing = None
        self._pauses.pop(replica, None)
        replica.takes_priority = True
        report = None
        with suppress(EngineFault):
            report = await self._reported(replica)
        replica.is_vllm = report is not None or (listing is not None and listing.by_vllm)
        self._judge(replica, listing)
        if replica.is_vllm:
            replica.heard(report, self._now())
            self._tell_load(replica)
        return True

    async def health(self) -> list[str | None]:
        """What each server says to a question just now: None for one that answers well, else the reason."""

        async def ask(replica: Replica) -> str | None:
            try:
                await self._asked(f"{replica.base}/models", MAX_LISTING_BYTES)
            except EngineFault as fault:
                return fault.message
            return None

        return await asyncio.gather(*map(ask, self._replicas))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._pace.poll_s)
            found = await asyncio.gather(*map(self._tend, self._replicas), return_exceptions=True)
            for error in found:
                if isinstance(error, Exception):
                    log_fault("pass_failed", error, model=self._model.name)

    async def _tend(self, replica: Replica) -> None:
        """What a server needs now: a probe of its open circuit, a look at what it serves, or a poll of its load."""
        now = self._now()
        if replica.probe_at is not None:
            if now >= replica.probe_at:
                ok = await self.look(replica)
                replica.probed(self._now(), ok=ok)
                if ok:
                    log("replica_back", model=self._model.name, replica=replica.base)
        elif replica.look_at is not None and now >= replica.look_at:
            await self.look(replica)
        elif replica.is_vllm:
            await self._poll(replica)

    def _no_answer(self, replica: Replica, fault: EngineFault) -> None:
        """It did not answer a look: ask again soon, and ever less often."""
        if fault.fault_code in ("connection_failed", "connect_timeout"):
            self.unreached(replica, fault.message)
        if replica.look_at is not None:
            pause_s = self._pauses.get(replica, self._pace.poll_s)
            replica.look_at = self._now() + pause_s
            self._pauses[replica] = min(2 * pause_s, self._pace.most_pause_s)
        if replica not in self._said:
            self._say(replica, "unknown", fault.message)

    def _judge(self, replica: Replica, listing: Listing | None) -> None:
        """Whether it serves our model, by its list: only vLLM's is the whole truth, and others know aliases."""
        serves = listing.serves(self._name) if listing else None
        replica.misfit = serves is False and bool(replica.is_vllm)
        replica.look_at = self._now() + _LOOK_AGAIN if replica.misfit else None
        if listing is None or serves is None:
            self._say(replica, "unknown", "it answers, but lists no models")
        elif serves:
            self._say(replica, "yes", "it is vLLM" if replica.is_vllm else "it lists the model")
        else:
            self._say(
                replica, "no", f"{self._name!r} is not listed, but {', '.join(map(repr, listing.names[:_SHOWN]))}"
            )

    def _say(self, replica: Replica, serves: str, detail: str) -> None:
        """Log what a server serves, once until that changes."""
        if self._said.get(replica) != serves:
            self._said[replica] = serves
            level = logging.WARNING if serves == "no" else logging.INFO
            log(
                "replica_checked",
                level,
                model=self._model.name,
                replica=replica.base,
                serves=serves,
                detail=detail[:300],
            )

    async def _poll(self, replica: Replica) -> None:
        """Read its load. A report that cannot be read counts as none at once; one that does not come, when the last is old."""
        try:
            replica.heard(await self._reported(replica), self._now())
        except EngineFault as fault:
            if _is_answer(fault):
                replica.heard(None, self._now())
        self._tell_load(replica)

    async def _reported(self, replica: Replica) -> Report | None:
        """Its load by vLLM's metrics, which stand beside `/v1`; None where there is no report to read."""
        return report_in(await self._asked(f"{replica.base.removesuffix('/v1')}/metrics", MAX_METRICS_BYTES))

    def _tell_load(self, replica: Replica) -> None:
        """Log that a server's load is not known, once until it is."""
        if replica.report(self._now()) is not None:
            self._unreadable.discard(replica)
        elif replica not in self._unreadable:
            self._unreadable.add(replica)
            log("replica_silent", logging.WARNING, model=self._model.name, replica=replica.base)

    async def _asked(self, url: str, most: int) -> bytes:
        try:
            async with asyncio.timeout(self._pace.ask_s):
                return await self._wire.got(url, most)
        except TimeoutError:
            message = f"It did not answer within {self._pace.ask_s:g} s."
            raise EngineFault(message, code="first_byte_timeout", retryable=True, http_status=504) from None


def _is_answer(fault: EngineFault) -> bool:
    """Whether a fault of a look shows a server that is there: it refuses, or has no such list."""
    return not fault.retryable or fault.fault_code in ("rate_limited", "bad_json", "answer_too_large")
