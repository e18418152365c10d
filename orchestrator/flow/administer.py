"""Administer: tenants, projects, keys, budgets and quotas, each act in one transaction with its entry in the tenant's log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from orchestrator import ids
from orchestrator.errors import Conflict, InvalidRequest, NotFound, Refused
from orchestrator.flow.authenticate import PREFIX_CHARS, SCOPES, hash_of, new_key
from orchestrator.flow.context import Context
from orchestrator.store import keys, limits, tenants
from orchestrator.store.budgets import Period, Scope
from orchestrator.store.limits import Quota

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""Of a tenant or project."""
DEFAULT_SCOPES: Final = ("submit", "read")
MOST_GRACE_S: Final = 30 * 86_400.0
OfDisabled = Literal["refuse", "enable", "make"]
"""What becomes of a key of a tenant or project that is disabled: it is refused, they are enabled, or it is made all the same."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and on which tenant: their own, or with a key of the house any."""

    tenant_id: int
    name: str
    """As the log has it: a key's id, or `command line`."""


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key. It is told this once: only its hash is stored."""

    id: UUID
    key: str
    prefix: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


def tenant_named(context: Context, name: str) -> Row[Any]:
    """A tenant by its name or id; raises NotFound."""
    public_id = ids.parse("tenant", name) if name.startswith("tenant_") else None
    with context.house.unit_of_work() as session:
        row = tenants.find(session, public_id=public_id, name=None if public_id else name)
    if row is None:
        raise NotFound(f"There is no tenant {name[:80]!r}. `rightsize tenants list` shows them.")
    return row


def create_tenant(
    context: Context, actor: Actor, name: str, *, weight: int = 1, retention_days: int | None = None
) -> Row[Any]:
    """Make a tenant with a first project, `default`; raises Conflict for a name that is taken."""
    checked_name(name)
    with context.house.unit_of_work() as session:
        row = tenants.add(session, ids.uuid7(), name, weight=weight, retention_days=retention_days)
        if row is None:
            raise Conflict(f"There is a tenant {name!r} already. Give another name.", param="name")
        tenants.add_project(session, row.id, ids.uuid7(), "default")
        _log(session, Actor(row.id, actor.name), "tenant.created", _id("tenant", row), {"name": name, "weight": weight})
    return row


def change_tenant(
    context: Context, actor: Actor, *, weight: int | None, retention_days: int | None, disabled: bool | None
) -> Row[Any]:
    """Change a tenant's weight or retention, or disable it: its keys are refused within seconds, and what is queued still runs.

    Raises Conflict where the house would be disabled: nobody could enable it again.
    """
    with context.house.unit_of_work() as session:
        if disabled and tenants.is_house(session, actor.tenant_id):
            raise Conflict(
                f"The tenant {tenants.HOUSE!r} runs this service: with it disabled nobody could administer it, or enable it again. "
                "Revoke its keys instead (`rightsize keys revoke ID`), or disable one of its projects.",
                param="disabled",
            )
        row = tenants.change(session, actor.tenant_id, weight=weight, retention_days=retention_days, disabled=disabled)
        detail = {"weight": weight, "retention_days": retention_days, "disabled": disabled}
        _log(session, actor, "tenant.changed", _id("tenant", row), detail)
    return row


def create_project(context: Context, actor: Actor, name: str, *, weight: int = 1) -> Row[Any]:
    """Make a project of a tenant; raises Conflict for a name that is taken."""
    checked_name(name)
    with context.database.unit_of_work(actor.tenant_id) as session:
        row = tenants.add_project(session, actor.tenant_id, ids.uuid7(), name, weight=weight)
        if row is None:
            raise Conflict(f"There is a project {name!r} already. Give another name.", param="name")
        _log(session, actor, "project.created", _id("proj", row), {"name": name, "weight": weight})
    return row


def change_project(context: Context, actor: Actor, name: str, *, weight: int | None, disabled: bool | None) -> Row[Any]:
    """Change a project's weight, or disable it and with it its keys.

    Raises NotFound, or Conflict for the last one of the house that is enabled: nobody could enable it again.
    """
    with context.database.unit_of_work(actor.tenant_id) as session:
        found = project_named(session, actor.tenant_id, name)
        if disabled and tenants.is_house(session, actor.tenant_id):
            _must_leave_another(session, actor.tenant_id, found)
        row = tenants.change_project(session, actor.tenant_id, found.id, weight=weight, disabled=disabled)
        _log(session, actor, "project.changed", _id("proj", row), {"weight": weight, "disabled": disabled})
    return row


def create_key(
    context: Context, actor: Actor, name: str, *, project: str = "default", scopes: Sequence[str] = DEFAULT_SCOPES,
    within_s: float | None = None, disabled: OfDisabled = "refuse",
) -> MadeKey:  # fmt: skip
    """Make a key of a project with some scopes, for good or for a while; raises InvalidRequest or NotFound.

    Raises Conflict for a tenant or project that is disabled, unless `disabled` says otherwise.
    """
    if not name or len(name) > 100 or not name.isprintable():
        raise InvalidRequest("A key's name must be 1 to 100 printable characters.", param="name")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InvalidRequest(f"A key's scopes must be one or more of {', '.join(SCOPES)}.", param="scopes")
    with context.database.unit_of_work(actor.tenant_id) as session:
        found = project_named(session, actor.tenant_id, project)
        if disabled == "enable":
            _enable(session, actor, found)
        elif disabled == "refuse":
            _must_be_enabled(_tenant(session, actor), found)
        made = _new_key(session, actor, found.id, name, tuple(dict.fromkeys(scopes)), within_s)
        _log(session, actor, "key.created", ids.public("key", made.id), {"name": name, "scopes": list(made.scopes)})
    return made


def rotate_key(
    context: Context, actor: Actor, key: str, *, grace_s: float = 0.0, within_s: float | None = None
) -> MadeKey:
    """Make a key that takes an older one's place: same project, name and scopes. The older one lasts for `grace_s` more.

    It lasts from now for as long as the older one was made for, or for `within_s`. Raises Conflict for a key that was revoked or has
    expired.
    """
    if not 0 <= grace_s <= MOST_GRACE_S:
        raise InvalidRequest("The grace must lie between 0 and 30 days.", param="grace")
    with context.database.unit_of_work(actor.tenant_id) as session:
        old = key_named(session, actor.tenant_id, key)
        if old.revoked_at is not None:
            raise Conflict("The key was revoked: make a new one with `rightsize keys create --name NAME`.")
        if old.has_expired:
            raise Conflict("The key has expired: make a new one with `rightsize keys create --name NAME`.")
        project = tenants.find_project(session, actor.tenant_id, name=old.project)
        if project is None:
            raise NotFound(f"The project of {key[:80]!r} is gone.")
        lasts_s = old.lifetime_s if within_s is None else within_s
        made = _new_key(session, actor, project.id, old.name, tuple(old.scopes), lasts_s)
        keys.expire(session, old.id, grace_s)
        detail = {"replaces": _id("key", old), "grace_s": grace_s, "expires_in_s": lasts_s}
        _log(session, actor, "key.rotated", ids.public("key", made.id), detail)
    return made


def revoke_key(context: Context, actor: Actor, key: str) -> Row[Any]:
    """Revoke a key for good; it is refused within two seconds. Revoking twice is fine."""
    with context.database.unit_of_work(actor.tenant_id) as session:
        found = key_named(session, actor.tenant_id, key)
        if keys.revoke(session, actor.tenant_id, found.public_id):
            _log(session, actor, "key.revoked", _id("key", found), {})
        return key_named(session, actor.tenant_id, _id("key", found))


def set_budget(
    context: Context, actor: Actor, scope: Scope, named: str | None, period: Period, limit_usd: Decimal | None
) -> None:
    """Set or take away the limit of a tenant, one of its projects or one of its keys."""
    with context.database.unit_of_work(actor.tenant_id) as session:
        scope_id, target = _scope(session, actor, scope, named)
        limits.set_budget(session, actor.tenant_id, scope, scope_id, period, limit_usd)
        told = None if limit_usd is None else f"{limit_usd:f}"
        _log(session, actor, "budget.set", target, {"period": period, "limit_usd": told})
    context.broker.wake()


def set_quota(context: Context, actor: Actor, scope: Scope, named: str | None, quota: Quota) -> None:
    """Set the quotas of a tenant, one of its projects or one of its keys; with none given, take them away.

    Raises InvalidRequest for `jobs_in_flight` of a key: requests of a project stand in one line, whichever key brought them.
    """
    if scope == "key" and quota.jobs_in_flight is not None:
        raise InvalidRequest(
            "jobs_in_flight is a quota of tenants and projects, not of keys. Set it on the key's project, or give the key a project of "
            "its own (`rightsize projects create`).",
            param="jobs_in_flight",
        )
    with context.database.unit_of_work(actor.tenant_id) as session:
        scope_id, target = _scope(session, actor, scope, named)
        limits.set_quota(session, actor.tenant_id, scope, scope_id, quota)
        _log(session, actor, "quota.set", target, asdict(quota))
    context.broker.wake()


def project_named(session: Session, tenant_id: int, name: str) -> Row[Any]:
    """A tenant's project by its name or id; raises NotFound."""
    public_id = ids.parse("proj", name) if name.startswith("proj_") else None
    row = tenants.find_project(session, tenant_id, public_id=public_id, name=None if public_id else name)
    if row is None:
        raise NotFound(f"There is no project {name[:80]!r}. `rightsize projects list` shows them.")
    return row


def key_named(session: Session, tenant_id: int, name: str) -> Row[Any]:
    """A tenant's key by its id, or by its name where only one has it; raises NotFound or Conflict."""
    public_id = ids.parse("key", name) if name.startswith("key_") else None
    found = keys.listed(session, tenant_id, public_id, None if public_id else name)
    if not found:
        raise NotFound(f"There is no key {name[:80]!r}. `rightsize keys list` shows them.")
    live = [row for row in found if row.revoked_at is None] or list(found)
    if len(live) > 1:
        raise Conflict(
            f"{len(live)} keys are called {name[:80]!r}: give the id of one, as `rightsize keys list` shows it."
        )
    return live[0]


def checked_name(name: str) -> str:
    """A name that a tenant or project may have; raises InvalidRequest."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            "A name must be 1 to 63 lower-case letters, digits, dots, dashes and underscores.", param="name"
        )
    return name


def _scope(session: Session, actor: Actor, scope: Scope, named: str | None) -> tuple[int, str]:
    """The inner and the public id of what a limit is for; what it raises names the field `named`."""
    if scope == "tenant":
        _must_be_the_tenant(session, actor, named)
        return actor.tenant_id, "tenant"
    if named is None:
        raise InvalidRequest(f"Say which {scope}: give its name or id.", param="named")
    try:
        row = (project_named if scope == "project" else key_named)(session, actor.tenant_id, named)
    except Refused as error:
        error.param = error.param or "named"
        raise
    return row.id, _id("proj" if scope == "project" else "key", row)


def _must_be_the_tenant(session: Session, actor: Actor, named: str | None) -> None:
    """Raise InvalidRequest for the name of another tenant: a limit of it would be set for the caller's own."""
    if named is None:
        return
    own = _tenant(session, actor)
    if named not in (own.name, _id("tenant", own)):
        raise InvalidRequest(
            f"This would limit the tenant {own.name!r}, not {named[:80]!r}. For another tenant say `--tenant NAME` (over the API "
            "`?tenant=NAME`), and leave the name out.",
            param="named",
        )


def _tenant(session: Session, actor: Actor) -> Row[Any]:
    """The tenant that is acted on."""
    return tenants.get(session, actor.tenant_id)


def _must_leave_another(session: Session, tenant_id: int, project: Row[Any]) -> None:
    """Raise Conflict for the last project of the house that is enabled."""
    if not tenants.enabled_projects(session, tenant_id) - {project.id}:
        raise Conflict(
            f"{project.name!r} is the last project of the tenant {tenants.HOUSE!r} that is enabled: without it nobody could administer "
            "this service, or enable it again. Make another with an admin key first (`rightsize projects create --name NAME`), or "
            "revoke its keys instead (`rightsize keys revoke ID`).",
            param="disabled",
        )


def _must_be_enabled(tenant: Row[Any], project: Row[Any]) -> None:
    """Raise Conflict where a new key would be refused from its first moment on."""
    where = "" if tenant.name == tenants.HOUSE else f" --tenant {tenant.name}"
    for row, what, command in (
        (tenant, f"The tenant {tenant.name!r}", f"rightsize tenants change {tenant.name} --enable"),
        (project, f"The project {project.name!r}", f"rightsize projects change {project.name} --enable{where}"),
    ):
        if row.disabled_at is not None:
            raise Conflict(
                f"{what} is disabled: its keys are refused. Enable it first (`{command}`). Where no key is left that may, run `rightsize "
                "keys create` with `--enable` on the service's own machine, without --url and RIGHTSIZE_URL."
            )


def _enable(session: Session, actor: Actor, project: Row[Any]) -> None:
    """Enable the tenant and the project of a key, where they were disabled."""
    tenant = _tenant(session, actor)
    if tenant.disabled_at is not None:
        tenants.change(session, tenant.id, weight=None, retention_days=None, disabled=False)
        _log(session, actor, "tenant.changed", _id("tenant", tenant), {"disabled": False})
    if project.disabled_at is not None:
        tenants.change_project(session, tenant.id, project.id, weight=None, disabled=False)
        _log(session, actor, "project.changed", _id("proj", project), {"disabled": False})


def _new_key(
    session: Session, actor: Actor, project_id: int, name: str, scopes: tuple[str, ...], within_s: float | None
) -> MadeKey:
    key, public_id = new_key(), ids.uuid7()
    prefix = key[:PREFIX_CHARS]
    expires_at = keys.add(
        session, public_id, (actor.tenant_id, project_id), name=name, key_hash=hash_of(key), prefix=prefix, scopes=scopes,
        within_s=within_s,
    )  # fmt: skip
    return MadeKey(public_id, key, prefix, scopes, expires_at)


def _log(session: Session, actor: Actor, action: str, target: str, detail: dict[str, Any]) -> None:
    tenants.log_act(session, actor.tenant_id, actor=actor.name, action=action, target=target, detail=detail)


def _id(kind: ids.Kind, row: Row[Any]) -> str:
    return ids.public(kind, row.public_id)
