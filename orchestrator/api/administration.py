"""`/v1/tenants`, `/v1/projects`, `/v1/keys`, `/v1/budgets`, `/v1/quotas`, `/v1/audit`: who may work here, and how much.

A key with the scope `admin` administers its own tenant. One of the house, the tenant that every installation begins with,
administers all of them: `?tenant=NAME` says which.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row
from starlette.responses import Response

from orchestrator import ids
from orchestrator.api import schemas
from orchestrator.api.auth import Admin
from orchestrator.api.bodies import answer, checked, read_object
from orchestrator.api.serving import Serving, serving_of
from orchestrator.errors import Forbidden
from orchestrator.flow import administer
from orchestrator.flow.administer import Actor, MadeKey
from orchestrator.hints import usd_from, window_seconds
from orchestrator.store import keys, limits, tenants
from orchestrator.store.keys import Identity
from orchestrator.store.limits import Quota

router = APIRouter(tags=["administration"])

OfTenant = Annotated[str | None, Query(max_length=128, description="A tenant's name or id; for keys of the house.")]
MOST_LOGGED: Final = 1_000


@router.get("/v1/tenants")
async def list_tenants(request: Request, who: Admin) -> Response:
    """Every tenant, for whoever runs the service; to others their own."""
    return answer(await serving_of(request).read(_tenants, serving_of(request), who))


@router.post("/v1/tenants", status_code=201, openapi_extra=schemas.body_of(schemas.CreateTenant))
async def create_tenant(request: Request, who: Admin) -> Response:
    """Make a tenant with a first project, `default`."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateTenant, await read_object(request))
    _must_be_house(who)
    row = await serving.submit(
        administer.create_tenant, serving.context, _own(who), wanted.name, weight=wanted.weight, retention_days=wanted.retention_days
    )  # fmt: skip
    return answer(_tenant(row), status=201)


@router.post("/v1/tenants/{name}", openapi_extra=schemas.body_of(schemas.ChangeTenant))
async def change_tenant(name: str, request: Request, who: Admin) -> Response:
    """Change a tenant's weight or retention, disable it or enable it again."""
    serving = serving_of(request)
    wanted = checked(schemas.ChangeTenant, await read_object(request))
    _must_be_house(who)
    actor = await serving.read(_actor, serving, who, name)
    row = await serving.submit(
        administer.change_tenant, serving.context, actor, weight=wanted.weight, retention_days=wanted.retention_days,
        disabled=wanted.disabled,
    )  # fmt: skip
    return answer(_tenant(row))


@router.get("/v1/projects")
async def list_projects(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """A tenant's projects."""
    serving = serving_of(request)
    return answer(await serving.read(_projects, serving, who, tenant))


@router.post("/v1/projects", status_code=201, openapi_extra=schemas.body_of(schemas.CreateProject))
async def create_project(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Make a project."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateProject, await read_object(request))
    actor = await serving.read(_actor, serving, who, tenant)
    row = await serving.submit(administer.create_project, serving.context, actor, wanted.name, weight=wanted.weight)
    return answer(_project(row), status=201)


@router.post("/v1/projects/{name}", openapi_extra=schemas.body_of(schemas.ChangeProject))
async def change_project(name: str, request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Change a project's weight, disable it or enable it again."""
    serving = serving_of(request)
    wanted = checked(schemas.ChangeProject, await read_object(request))
    actor = await serving.read(_actor, serving, who, tenant)
    row = await serving.submit(
        administer.change_project, serving.context, actor, name, weight=wanted.weight, disabled=wanted.disabled
    )
    return answer(_project(row))


@router.get("/v1/keys")
async def list_keys(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """A tenant's keys: their prefixes, scopes and last use, never the keys themselves."""
    serving = serving_of(request)
    return answer(await serving.read(_keys, serving, who, tenant))


@router.post("/v1/keys", status_code=201, openapi_extra=schemas.body_of(schemas.CreateKey))
async def create_key(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Make a key; it is shown this once."""
    serving = serving_of(request)
    wanted = checked(schemas.CreateKey, await read_object(request))
    actor = await serving.read(_actor, serving, who, tenant)
    within_s = _lifetime_s(wanted.expires_in)
    made = await serving.submit(
        administer.create_key, serving.context, actor, wanted.name, project=wanted.project, scopes=wanted.scopes, within_s=within_s
    )  # fmt: skip
    return answer(_made(made), status=201)


@router.post("/v1/keys/{key}/rotate", status_code=201, openapi_extra=schemas.body_of(schemas.RotateKey))
async def rotate_key(key: str, request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Make a key that takes this one's place; the old one lasts for the grace that is given."""
    serving = serving_of(request)
    wanted = checked(schemas.RotateKey, await read_object(request))
    actor = await serving.read(_actor, serving, who, tenant)
    grace_s = window_seconds(wanted.grace, "grace") if wanted.grace is not None else 0.0
    within_s = _lifetime_s(wanted.expires_in)
    made = await serving.submit(administer.rotate_key, serving.context, actor, key, grace_s=grace_s, within_s=within_s)
    return answer(_made(made), status=201)


@router.delete("/v1/keys/{key}")
async def revoke_key(key: str, request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Revoke a key for good; it is refused within two seconds."""
    serving = serving_of(request)
    actor = await serving.read(_actor, serving, who, tenant)
    row = await serving.submit(administer.revoke_key, serving.context, actor, key)
    return answer(_key(row))


@router.get("/v1/budgets")
async def list_budgets(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """A tenant's budgets, with what is held and spent of them in their present period."""
    serving = serving_of(request)
    return answer(await serving.read(_budgets, serving, who, tenant))


@router.put("/v1/budgets", openapi_extra=schemas.body_of(schemas.SetBudget))
async def set_budget(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Set a hard limit for a tenant, project or key, by day, month or in all; `limit_usd: null` takes it away."""
    serving = serving_of(request)
    wanted = checked(schemas.SetBudget, await read_object(request))
    if wanted.scope == "tenant":
        _must_be_house(who)
    actor = await serving.read(_actor, serving, who, tenant)
    limit = usd_from(wanted.limit_usd, "limit_usd")
    await serving.submit(
        administer.set_budget, serving.context, actor, wanted.scope, wanted.named, wanted.period, limit
    )
    return answer(await serving.read(_budgets, serving, who, tenant))


@router.get("/v1/quotas")
async def list_quotas(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """A tenant's quotas by scope."""
    serving = serving_of(request)
    return answer(await serving.read(_quotas, serving, who, tenant))


@router.put("/v1/quotas", openapi_extra=schemas.body_of(schemas.SetQuota))
async def set_quota(request: Request, who: Admin, tenant: OfTenant = None) -> Response:
    """Set the quotas of a tenant, project or key; those that are left out are taken away."""
    serving = serving_of(request)
    wanted = checked(schemas.SetQuota, await read_object(request))
    if wanted.scope == "tenant":
        _must_be_house(who)
    actor = await serving.read(_actor, serving, who, tenant)
    quota = Quota(*(getattr(wanted, name) for name in limits.QUOTA_FIELDS))
    await serving.submit(administer.set_quota, serving.context, actor, wanted.scope, wanted.named, quota)
    return answer(await serving.read(_quotas, serving, who, tenant))


@router.get("/v1/audit")
async def audit(
    request: Request,
    who: Admin,
    tenant: OfTenant = None,
    before: Annotated[int, Query(ge=1, le=2**62)] = 2**62,
    limit: Annotated[int, Query(ge=1, le=MOST_LOGGED)] = 100,
) -> Response:
    """The log of administrative acts, the newest first; `before` is the id of the last one of the page before."""
    serving = serving_of(request)
    return answer(await serving.read(_audit, serving, who, tenant, before, limit))


def _lifetime_s(expires_in: str | None) -> float | None:
    return None if expires_in is None else window_seconds(expires_in, "expires_in", most_days=3_650)


def _must_be_house(who: Identity) -> None:
    if not who.is_house:
        raise Forbidden("Only whoever runs this service may do that: use an admin key of its own tenant.")


def _own(who: Identity) -> Actor:
    return Actor(who.owner.tenant_id, f"key_{who.key}")


def _actor(serving: Serving, who: Identity, tenant: str | None) -> Actor:
    """Who acts on which tenant; raises NotFound for another tenant's name from whoever is not of the house."""
    if tenant is None:
        return _own(who)
    if not who.is_house:
        with serving.context.database.unit_of_work(who.owner.tenant_id) as session:
            own = tenants.listed(session)
        if any(tenant in (row.name, ids.public("tenant", row.public_id)) for row in own):
            return _own(who)
        _must_be_house(who)
    return Actor(administer.tenant_named(serving.context, tenant).id, _own(who).name)


def _tenants(serving: Serving, who: Identity) -> dict[str, Any]:
    if who.is_house:
        with serving.context.house.unit_of_work() as session:
            found = tenants.listed(session)
    else:
        with serving.context.database.unit_of_work(who.owner.tenant_id) as session:
            found = tenants.listed(session)
    return _list([_tenant(row) for row in found])


def _projects(serving: Serving, who: Identity, tenant: str | None) -> dict[str, Any]:
    actor = _actor(serving, who, tenant)
    with serving.context.database.unit_of_work(actor.tenant_id) as session:
        return _list([_project(row) for row in tenants.projects(session, actor.tenant_id)])


def _keys(serving: Serving, who: Identity, tenant: str | None) -> dict[str, Any]:
    actor = _actor(serving, who, tenant)
    with serving.context.database.unit_of_work(actor.tenant_id) as session:
        return _list([_key(row) for row in keys.listed(session, actor.tenant_id)])


def _budgets(serving: Serving, who: Identity, tenant: str | None) -> dict[str, Any]:
    actor = _actor(serving, who, tenant)
    with serving.context.database.unit_of_work(actor.tenant_id) as session:
        return _list([_budget(row) for row in limits.budgets(session, actor.tenant_id)])


def _quotas(serving: Serving, who: Identity, tenant: str | None) -> dict[str, Any]:
    actor = _actor(serving, who, tenant)
    with serving.context.database.unit_of_work(actor.tenant_id) as session:
        found = limits.quotas(session, actor.tenant_id)
        names: dict[tuple[str, int], str] = {
            ("project", row.id): row.name for row in tenants.projects(session, actor.tenant_id)
        }
        names |= {("key", row.id): ids.public("key", row.public_id) for row in keys.listed(session, actor.tenant_id)}
    return _list(
        [
            {"object": "quota", "scope": scope, "named": names.get((scope, scope_id)), **_fields(quota)}
            for (scope, scope_id), quota in found.items()
        ]
    )


def _fields(quota: Quota) -> dict[str, int | None]:
    return {name: getattr(quota, name) for name in limits.QUOTA_FIELDS}


def _audit(serving: Serving, who: Identity, tenant: str | None, before: int, limit: int) -> dict[str, Any]:
    actor = _actor(serving, who, tenant)
    with serving.context.database.unit_of_work(actor.tenant_id) as session:
        found = tenants.logged(session, actor.tenant_id, before=before, limit=limit)
    return _list(
        [
            {
                "object": "audit", "id": row.id, "at": int(row.at.timestamp()), "actor": row.actor, "action": row.action,
                "target": row.target, "detail": row.detail,
            }
            for row in found
        ]
    )  # fmt: skip


def _list(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": data}


def _stamp(value: Any) -> int | None:
    return int(value.timestamp()) if value else None


def _tenant(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("tenant", row.public_id), "object": "tenant", "name": row.name, "weight": row.weight,
        "retention_days": row.retention_days, "created_at": _stamp(row.created_at), "disabled_at": _stamp(row.disabled_at),
    }  # fmt: skip


def _project(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("proj", row.public_id), "object": "project", "name": row.name, "weight": row.weight,
        "created_at": _stamp(row.created_at), "disabled_at": _stamp(row.disabled_at),
    }  # fmt: skip


def _key(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": ids.public("key", row.public_id), "object": "key", "name": row.name, "prefix": row.prefix, "project": row.project,
        "scopes": row.scopes, "created_at": _stamp(row.created_at), "expires_at": _stamp(row.expires_at),
        "last_used_at": _stamp(row.last_used_at), "revoked_at": _stamp(row.revoked_at),
    }  # fmt: skip


def _made(made: MadeKey) -> dict[str, Any]:
    return {
        "id": ids.public("key", made.id), "object": "key", "key": made.key, "prefix": made.prefix, "scopes": list(made.scopes),
        "expires_at": _stamp(made.expires_at),
    }  # fmt: skip


def _budget(row: Row[Any]) -> dict[str, Any]:
    named = {"project": row.project_name, "key": ids.public("key", row.key) if row.key else None}.get(row.scope)
    limit = row.limit_usd
    return {
        "object": "budget", "scope": row.scope, "named": named, "period": row.period,
        "limit_usd": None if limit is None else f"{limit:f}", "held_usd": f"{row.held_usd:f}", "spent_usd": f"{row.spent_usd:f}",
        "left_usd": None if limit is None else f"{limit - row.held_usd - row.spent_usd:f}",
    }  # fmt: skip
