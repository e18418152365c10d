"""`/v1/explain`: why a request would go where, without running it. `/v1/cost`: what work was charged and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Caller
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import NotFound, TierUnavailable
from orchestrator.hints import NO_HINTS
from orchestrator.requests import features_of
from orchestrator.routing import Alternative, Route, alternatives, factors, route
from orchestrator.store import batches, costs
from orchestrator.store.costs import By

router = APIRouter(tags=["insight"])

QUESTIONS: Final = (
    ("Did the caller choose a tier or a model?", frozenset({"explicit_model", "explicit_tier"})),
    ("Does it need vision or audio?", frozenset({"needs_eyes_or_ears"})),
    ("Is it high-stakes, or does it need deep analysis?", frozenset({"high_stakes", "deep_analysis"})),
    ("Is it repetitive and domain-specific, with a trained specialist?", frozenset({"repetitive_domain"})),
    ("Otherwise: the default tier.", frozenset({"default"})),
)
"""The decision tree in its order, and the rules in which a yes ends it."""


@router.post("/v1/explain", openapi_extra=schemas.body_of(schemas.Explain))
async def explain(request: Request, owner: Caller) -> Response:
    """The tree walked for a request, its four factors, and what each model would have cost and taken."""
    serving = serving_of(request)
    wanted = checked(schemas.Explain, await read_object(request))
    return answer(await serving.read(_explain, serving, owner, wanted))


@router.get("/v1/cost")
async def cost(
    request: Request,
    owner: Caller,
    by: Annotated[By, Query()] = "tier",
    batch: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """Charges and costs of the caller's tenant by batch, tier, model or day, exact to the last digit."""
    serving = serving_of(request)
    return answer(await serving.read(_cost, serving, owner, by, batch))


def _explain(serving: Serving, owner: Owner, wanted: schemas.Explain) -> dict[str, Any]:
    features = features_of(wanted.endpoint, wanted.body, NO_HINTS, streams=True)
    now = serving.context.situation(owner.tenant_id)
    chosen: Route | None = None
    problem = None
    try:
        chosen = route(features, now)
    except TierUnavailable as error:
        problem = error.message
    return {
        "object": "explanation",
        "route": _route(chosen) if chosen else None,
        "problem": problem,
        "tree": list(_tree(chosen.rule)) if chosen else [],
        "factors": [{"name": one.name, "finding": one.finding} for one in factors(features)],
        "alternatives": [_alternative(one, chosen) for one in alternatives(features, now)],
    }


def _route(chosen: Route) -> dict[str, Any]:
    estimate = chosen.estimate
    return {
        "tier": chosen.tier,
        "model": chosen.model,
        "rule": chosen.rule,
        "reasons": chosen.reasons,
        "cost_usd": f"{estimate.cost_usd:f}",
        "hold_usd": f"{estimate.hold_usd:f}",
        "latency_s": estimate.latency_s,
    }


def _tree(rule: str) -> Iterator[dict[str, Any]]:
    """The questions up to the one that decided, with their answers."""
    decisive = rule.removesuffix("_fallback")
    for question, rules in QUESTIONS:
        yes = decisive in rules
        yield {"question": question, "answer": "yes" if yes else "no"}
        if yes:
            return


def _alternative(one: Alternative, chosen: Route | None) -> dict[str, Any]:
    return {
        "tier": one.tier,
        "model": one.model,
        "chosen": chosen is not None and chosen.model == one.model,
        "cost_usd": f"{one.estimate.cost_usd:f}",
        "hold_usd": f"{one.estimate.hold_usd:f}",
        "latency_s": one.estimate.latency_s,
        "problem": one.problem,
    }


def _cost(serving: Serving, owner: Owner, by: By, batch: str | None) -> dict[str, Any]:
    with serving.context.database.unit_of_work() as session:
        batch_id = None
        if batch is not None:
            row = batches.find(session, owner.tenant_id, ids.parse("batch", batch))
            if row is None:
                raise NotFound(f"There is no batch {batch[:80]!r}.")
            batch_id = row.id
        found = costs.sums(session, owner.tenant_id, by, batch_id)
    total = costs.total(found)
    return {"object": "cost", "by": by, "batch": batch, "data": [_sum(one) for one in found], "total": _sum(total)}


def _sum(one: costs.Sum) -> dict[str, Any]:
    return {
        "key": one.key,
        "jobs": one.jobs,
        "attempts": one.attempts,
        "charge_usd": f"{one.charge_usd:f}",
        "cost_usd": f"{one.cost_usd:f}",
        "house_usd": f"{one.house_usd:f}",
    }
