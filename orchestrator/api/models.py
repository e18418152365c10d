"""`/v1/models`: what `model` may be: auto, the tiers of the fleet, and its models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from orchestrator.api.auth import Reader
from orchestrator.api.bodies import answer
from orchestrator.api.serving import serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import UnknownModel
from orchestrator.fleet import Fleet
from orchestrator.pricing import RateCard

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def listed(request: Request, owner: Reader) -> Response:
    """Every name that `model` may have."""
    return answer({"object": "list", "data": await _names(request, owner)})


@router.get("/{name}")
async def show(name: str, request: Request, owner: Reader) -> Response:
    """One of them."""
    entries = await _names(request, owner)
    for entry in entries:
        if entry["id"] == name:
            return answer(entry)
    raise UnknownModel(name[:80], [entry["id"] for entry in entries])


async def _names(request: Request, owner: Owner) -> list[dict[str, Any]]:
    serving = serving_of(request)
    now = await serving.read(serving.context.situation, owner.tenant_id)
    return list(_entries(now.fleet, sorted(now.specialists)))


def _entries(fleet: Fleet, trained: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What may be named; `trained` are the caller's tasks that have a specialist."""
    yield _entry("auto", {"kind": "auto"})
    for tier in fleet.tiers:
        yield _entry(tier, {"kind": "tier", "models": [model.name for model in fleet.of_tier(tier)]})
    for model in fleet.models:
        tasks = model.tasks or (trained if model.engine == "specialist" else ())
        about = {
            "kind": "model", "tier": model.tier, "default": fleet.is_default(model), "tasks": tasks,
            "simulated": model.engine == "simulated", "engine": model.engine, "slots": model.slots, "prices": prices_of(model.card_on(datetime.now(UTC).date())), "max_input_tokens": model.max_input_tokens,
            "max_output_tokens": model.max_output_tokens, "endpoints": model.endpoints, "adapters": sorted(model.adapters),
        }  # fmt: skip
        yield _entry(model.name, about)


def prices_of(card: RateCard) -> dict[str, str]:
    """The prices of a card that are not zero: unit -> US dollars. Token prices are per million."""
    units = {
        "per M input": card.input, "per M cached": card.cached, "per M output": card.output, "per M reasoning": card.reasoning,
        "per request": card.request, "per image": card.image, "per audio second": card.audio_second, "per hour": card.hour,
    }  # fmt: skip
    return {unit: f"{amount:f}" for unit, amount in units.items() if amount}


def _entry(name: str, about: dict[str, Any]) -> dict[str, Any]:
    # OpenAI's object wants a day of birth; ours have none.
    return {"id": name, "object": "model", "created": 0, "owned_by": "rightsize", "rightsize": about}
