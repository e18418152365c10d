"""`/v1/usage`: what was used, charged and borne, by any keys together. `/v1/prices`: dated prices, in the open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, cast, get_args

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api.auth import Reader, Reading
from orchestrator.api.bodies import answer
from orchestrator.api.documented import patterns
from orchestrator.api.models import prices_of
from orchestrator.api.serving import Serving, serving_of
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.store import batches, usage
from orchestrator.store.keys import Identity
from orchestrator.store.usage import SUMS, Asked, By

router = APIRouter(tags=["insight"])

KNOWN: Final[tuple[By, ...]] = get_args(By)
MOST_KEYS: Final = 4
SEVERAL: Final = patterns.keys(KNOWN, MOST_KEYS)
DAY: Final[dict[str, Any]] = {"pattern": patterns.DAY, "examples": ["2026-01-31"]}


@router.get("/v1/usage")
async def used(
    request: Request,
    who: Reading,
    by: Annotated[
        str, Query(max_length=128, description="Keys, separated by commas.", json_schema_extra={"pattern": SEVERAL})
    ] = "tier",
    since: Annotated[
        str | None, Query(max_length=10, description="From this day on (UTC).", json_schema_extra=DAY)
    ] = None,
    until: Annotated[
        str | None, Query(max_length=10, description="Before this day (UTC).", json_schema_extra=DAY)
    ] = None,
    batch: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """What was used, charged and borne by us: exactly what the ledger says now. Summed by tenant, the house sees every tenant."""
    serving = serving_of(request)
    days = _day(since, "since"), _day(until, "until")
    return answer(await serving.read(_used, serving, who, _keys(by), *days, batch))


@router.get("/v1/prices")
async def prices(request: Request, owner: Reader) -> Response:  # noqa: ARG001 - a key is asked for
    """Every model's dated prices, those to come included. A job keeps the prices of the day on which it was handed in."""
    fleet, today = serving_of(request).context.config.fleet, datetime.now(UTC).date()
    data = [
        {
            "object": "price", "model": model.name, "tier": model.tier, "from": card.valid_from.isoformat(),
            "in_force": card == model.card_on(today), "prices": prices_of(card),
        }
        for model in fleet.models for card in sorted(model.rates, key=lambda card: card.valid_from)
    ]  # fmt: skip
    return answer({"object": "list", "data": data})


def _keys(by: str) -> tuple[By, ...]:
    given = tuple(dict.fromkeys(by.split(",")))
    if not re.fullmatch(SEVERAL, by):
        raise InvalidRequest(f"`by` must be 1 to {MOST_KEYS} of {', '.join(KNOWN)}, separated by commas.", param="by")
    return cast("tuple[By, ...]", given)


def _day(text: str | None, param: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"`{param}` must be a day, such as 2026-01-31.", param=param) from None


def _used(
    serving: Serving, who: Identity, by: tuple[By, ...], since: date | None, until: date | None, batch: str | None
) -> dict[str, Any]:
    context, tenant_id = serving.context, who.owner.tenant_id
    everybody = who.is_house and "tenant" in by and batch is None
    batch_id = None
    with context.database.unit_of_work(tenant_id) as session:
        if batch is not None:
            row = batches.find(session, tenant_id, ids.parse("batch", batch))
            if row is None:
                raise NotFound(f"There is no batch {batch[:80]!r}.")
            batch_id = row.id
    asked = Asked(by, None if everybody else tenant_id, _midnight(since), _midnight(until), batch_id)
    with context.house.unit_of_work() if everybody else context.database.unit_of_work(tenant_id) as session:
        found = usage.sums(session, asked)
    total = {
        name: sum((getattr(row, name) for row in found), start=Decimal(0) if name.endswith("_usd") else 0)
        for name in SUMS
    }
    return {"object": "usage", "by": list(by), "data": [_row(row, by) for row in found], "total": _told(total)}


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def _row(row: Row[Any], by: tuple[By, ...]) -> dict[str, Any]:
    return {**{one: getattr(row, one) for one in by}, **_told({name: getattr(row, name) for name in SUMS})}


def _told(sums: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in sums.items()}
