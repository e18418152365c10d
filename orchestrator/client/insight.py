"""What can be asked without running anything: routes, costs, usage, prices, models, refusals, and whether the service is well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

from orchestrator.client.async_transport import AsyncTransport
from orchestrator.client.call import CHAT, Call, Thing, get, path_of
from orchestrator.client.shapes import Price, Usage
from orchestrator.client.transport import Transport

Day = str | date
"""A day in UTC, such as 2026-11-01."""
READY = Call("GET", "/readyz")


def explain_call(body: Mapping[str, Any], endpoint: str) -> Call:
    """Asks for the route of a request."""
    return Call("POST", "/v1/explain", body={"endpoint": endpoint, "body": body}, again=True)


def usage_call(by: str | Sequence[str], since: Day | None, until: Day | None, batch: str | None) -> Call:
    """Asks for a report of usage."""
    keys = by if isinstance(by, str) else ",".join(by)
    days = {name: None if day is None else str(day) for name, day in (("since", since), ("until", until))}
    return get("/v1/usage", {"by": keys, **days, "batch": batch})


def refusals_call(limit: int, before: int | None, *, unknown: bool) -> Call:
    """Asks for what was refused."""
    return get("/v1/refusals", {"limit": limit, "before": before, "unknown": "true" if unknown else None})


def refusal_call(refusal: int, *, unknown: bool) -> Call:
    """Asks for one refusal."""
    return get(path_of("refusals", str(refusal)), {"unknown": "true" if unknown else None})


def health(answer: tuple[int, Thing]) -> Thing:
    """What the service says of itself, whatever the status."""
    return answer[1] or {"status": "unavailable", "checks": {"api": "It answered something that is not JSON."}}


class Insight:
    """Asks a service about its work."""

    _transport: Transport

    def explain(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> Thing:
        """Why a request would go where, and what every model would cost and take; nothing is run."""
        return self._transport.answer(explain_call(body, endpoint))

    def cost(self, by: str = "tier", *, batch: str | None = None) -> Thing:
        """Charges and costs by batch, tier, model or day; sums are decimal texts, exact to the last digit."""
        return self._transport.answer(get("/v1/cost", {"by": by, "batch": batch}))

    def usage(
        self, by: str | Sequence[str] = "tier", *, since: Day | None = None, until: Day | None = None, batch: str | None = None
    ) -> Usage:  # fmt: skip
        """Tokens, charges and costs by one to four of tenant, project, key, task, tier, model, day and batch together.

        `since` is the first day, `until` the one after the last (UTC).
        """
        return cast("Usage", self._transport.answer(usage_call(by, since, until, batch)))

    def prices(self) -> list[Price]:
        """Every model's dated prices; `in_force` marks those of today."""
        return cast("list[Price]", self._transport.answer(get("/v1/prices"))["data"])

    def machines(self) -> list[Thing]:
        """What the machines that are priced by the hour did and cost, by model; only who runs the service sees it."""
        return cast("list[Thing]", self._transport.answer(get("/v1/cost/machines"))["data"])

    def models(self) -> list[Thing]:
        """Every name that `model` may have."""
        return cast("list[Thing]", self._transport.answer(get("/v1/models"))["data"])

    def refusals(self, *, limit: int = 100, before: int | None = None, unknown: bool = False) -> list[Thing]:
        """Work that was handed in through Celery and refused, the newest first; `unknown` asks for that without a known key."""
        return cast("list[Thing]", self._transport.answer(refusals_call(limit, before, unknown=unknown))["data"])

    def refusal(self, refusal: int, *, unknown: bool = False) -> Thing:
        """One refusal, with what was asked."""
        return self._transport.answer(refusal_call(refusal, unknown=unknown))

    def ready(self) -> Thing:
        """Whether the service can serve: `{"status": "ok" or "unavailable", "checks": {...}}`."""
        return health(self._transport.attempt(READY))


class AsyncInsight:
    """The same for asynchronous code."""

    _transport: AsyncTransport

    async def explain(self, body: Mapping[str, Any], *, endpoint: str = CHAT) -> Thing:
        """Why a request would go where; see `Insight.explain`."""
        return await self._transport.answer(explain_call(body, endpoint))

    async def cost(self, by: str = "tier", *, batch: str | None = None) -> Thing:
        """Charges and costs by batch, tier, model or day."""
        return await self._transport.answer(get("/v1/cost", {"by": by, "batch": batch}))

    async def usage(
        self, by: str | Sequence[str] = "tier", *, since: Day | None = None, until: Day | None = None, batch: str | None = None
    ) -> Usage:  # fmt: skip
        """Tokens, charges and costs by up to four keys together; see `Insight.usage`."""
        return cast("Usage", await self._transport.answer(usage_call(by, since, until, batch)))

    async def prices(self) -> list[Price]:
        """Every model's dated prices."""
        return cast("list[Price]", (await self._transport.answer(get("/v1/prices")))["data"])

    async def machines(self) -> list[Thing]:
        """What the machines that are priced by the hour did and cost, by model."""
        return cast("list[Thing]", (await self._transport.answer(get("/v1/cost/machines")))["data"])

    async def models(self) -> list[Thing]:
        """Every name that `model` may have."""
        return cast("list[Thing]", (await self._transport.answer(get("/v1/models")))["data"])

    async def refusals(self, *, limit: int = 100, before: int | None = None, unknown: bool = False) -> list[Thing]:
        """Work that was handed in through Celery and refused, the newest first."""
        found = await self._transport.answer(refusals_call(limit, before, unknown=unknown))
        return cast("list[Thing]", found["data"])

    async def refusal(self, refusal: int, *, unknown: bool = False) -> Thing:
        """One refusal, with what was asked."""
        return await self._transport.answer(refusal_call(refusal, unknown=unknown))

    async def ready(self) -> Thing:
        """Whether the service can serve."""
        return health(await self._transport.attempt(READY))
