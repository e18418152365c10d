"""`/v1/explain`: why a request would go where, without running it. `/v1/cost`: what work was charged and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Reader
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.contracts import Owner
from orchestrator.errors import NotFound, TierUnavailable
from orchestrator.hints import NO_HINTS
from orchestrator.machine_time import HOUR_S, Use
from orchestrator.pricing import ZERO
from orchestrator.requests import features_of
from orchestrator.routing import Alternative, Route, alternatives, factors, route
from orchestrator.store import batches, costs, tenants
from orchestrator.store import machines as machine_books
from orchestrator.store.costs import By

router = APIRouter(tags=["insight"])

QUESTIONS: Final = (
    ("Did the caller choose a tier, a model or a cascade?", frozenset({"explicit_model", "explicit_tier", "cascade"})),
    ("Does it need vision or audio?", frozenset({"needs_eyes_or_ears"})),
    ("Is it high-stakes, or does it need deep analysis?", frozenset({"high_stakes", "deep_analysis"})),
    ("Is it repetitive and domain-specific, with a trained specialist?", frozenset({"repetitive_domain", "certified"})),
    ("Otherwise: the default tier, or what the learned router says.", frozenset({"default", "learned_router"})),
)
"""The decision tree in its order, and the rules in which a yes ends it."""


@router.post("/v1/explain", openapi_extra=schemas.body_of(schemas.Explain))
async def explain(request: Request, owner: Reader) -> Response:
    """The tree walked for a request, its four factors, and what each model would have cost and taken."""
    serving = serving_of(request)
    wanted = checked(schemas.Explain, await read_object(request))
    return answer(await serving.read(_explain, serving, owner, wanted))


@router.get("/v1/cost")
async def cost(
    request: Request,
    owner: Reader,
    by: Annotated[By, Query()] = "tier",
    batch: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """Charges and costs of the caller's tenant by batch, tier, model or day, exact to the last digit."""
    serving = serving_of(request)
    return answer(await serving.read(_cost, serving, owner, by, batch))


@router.get("/v1/cost/machines")
async def machines(request: Request, owner: Reader) -> Response:
    """What machines that are priced by the hour did and cost, by model; only who runs them sees it."""
    serving = serving_of(request)
    return answer(await serving.read(_machines, serving, owner))


def _explain(serving: Serving, owner: Owner, wanted: schemas.Explain) -> dict[str, Any]:
    features = features_of(wanted.endpoint, wanted.body, NO_HINTS, streams=True)
    now = serving.context.situation(owner.tenant_id)
    chosen: Route | None = None
    problem = None
    try:
        chosen = route(features, now, advised=serving.context.adviser.on(wanted.body, features))
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
        "cascade": list(chosen.cascade),
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
    with serving.context.database.unit_of_work(owner.tenant_id) as session:
        batch_id = None
        if batch is not None:
            row = batches.find(session, owner.tenant_id, ids.parse("batch", batch))
            if row is None:
                raise NotFound(f"There is no batch {batch[:80]!r}.")
            batch_id = row.id
        found = costs.sums(session, owner.tenant_id, by, batch_id)
    total = costs.total(found)
    return {"object": "cost", "by": by, "batch": batch, "data": [_sum(one) for one in found], "total": _sum(total)}


def _machines(serving: Serving, owner: Owner) -> dict[str, Any]:
    """Machines belong to the house, whose tenant is the one that every installation begins with."""
    with serving.context.house.unit_of_work() as session:
        if not tenants.is_house(session, owner.tenant_id):
            raise NotFound("The machines' books are those of whoever runs this service. `GET /v1/cost` shows yours.")
        found = machine_books.use(session)
    return {"object": "machines", "data": [_machine(row) for row in found]}


def _machine(row: Row[Any]) -> dict[str, Any]:
    use = Use(
        row.seconds or 0.0, row.busy_s or 0.0, row.bill_usd or ZERO, row.busy_usd or ZERO, int(row.prefill_tokens or 0),
        int(row.cached_tokens or 0), int(row.decode_tokens or 0),
    )  # fmt: skip
    million, at_best = use.million_usd, use.million_busy_usd
    return {
        "model": row.model,
        "tier": row.tier,
        "workers": row.workers,
        "attempts": row.attempts or 0,
        "hours": round(use.seconds / HOUR_S, 6),
        "unclosed_hours": round((row.unclosed_s or 0.0) / HOUR_S, 6),
        "bill_usd": f"{use.bill_usd:f}",
        "jobs_usd": f"{row.jobs_usd or ZERO:f}",
        "idle_usd": f"{row.idle_usd or ZERO:f}",
        "loading_usd": f"{row.loading_usd or ZERO:f}",
        "draining_usd": f"{row.draining_usd or ZERO:f}",
        "busy_share": round(use.busy_s / use.seconds, 6) if use.seconds else None,
        "idle_share": round(float((row.idle_usd or ZERO) / use.bill_usd), 6) if use.bill_usd else None,
        "tokens": {"prefill": use.prefill_tokens, "cached": use.cached_tokens, "decode": use.decode_tokens},
        "tokens_per_busy_second": {
            "prefill": round(use.per_second(use.prefill_tokens), 3),
            "decode": round(use.per_second(use.decode_tokens), 3),
        },
        "usd_per_million_tokens": f"{million:f}" if million is not None else None,
        "usd_per_million_tokens_if_always_busy": f"{at_best:f}" if at_best is not None else None,
    }


def _sum(one: costs.Sum) -> dict[str, Any]:
    return {
        "key": one.key,
        "jobs": one.jobs,
        "attempts": one.attempts,
        "charge_usd": f"{one.charge_usd:f}",
        "rejected_usd": f"{one.rejected_usd:f}",
        "cost_usd": f"{one.cost_usd:f}",
        "house_usd": f"{one.house_usd:f}",
    }
