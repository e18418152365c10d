"""Administration over the API: tenants, projects, keys, budgets, quotas and the log. Needs a key with the scope `admin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from orchestrator.client.transport import Transport

Thing = dict[str, Any]


class Administration:
    """What `Rightsize.admin` offers. `tenant` names another tenant, for keys of whoever runs the service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def tenants(self) -> list[Thing]:
        """Every tenant, for whoever runs the service; for others their own."""
        return self._list("/v1/tenants", None)

    def create_tenant(self, name: str, *, weight: int = 1, retention_days: int | None = None) -> Thing:
        """Make a tenant with a first project, `default`."""
        return self._post("/v1/tenants", {"name": name, "weight": weight, "retention_days": retention_days}, None)

    def change_tenant(
        self, name: str, *, weight: int | None = None, retention_days: int | None = None, disabled: bool | None = None
    ) -> Thing:
        """Change a tenant, disable it or enable it again."""
        body = {"weight": weight, "retention_days": retention_days, "disabled": disabled}
        return self._post(f"/v1/tenants/{_part(name)}", body, None)

    def projects(self, *, tenant: str | None = None) -> list[Thing]:
        """A tenant's projects."""
        return self._list("/v1/projects", tenant)

    def create_project(self, name: str, *, weight: int = 1, tenant: str | None = None) -> Thing:
        """Make a project."""
        return self._post("/v1/projects", {"name": name, "weight": weight}, tenant)

    def change_project(
        self, name: str, *, weight: int | None = None, disabled: bool | None = None, tenant: str | None = None
    ) -> Thing:
        """Change a project, disable it or enable it again."""
        return self._post(f"/v1/projects/{_part(name)}", {"weight": weight, "disabled": disabled}, tenant)

    def keys(self, *, tenant: str | None = None) -> list[Thing]:
        """A tenant's keys, by prefix."""
        return self._list("/v1/keys", tenant)

    def create_key(
        self, name: str, *, project: str = "default", scopes: Sequence[str] = ("submit", "read"), expires_in: str | None = None,
        tenant: str | None = None,
    ) -> Thing:  # fmt: skip
        """Make a key; `key` is told this once."""
        body = {"name": name, "project": project, "scopes": list(scopes), "expires_in": expires_in}
        return self._post("/v1/keys", body, tenant)

    def rotate_key(
        self, key: str, *, grace: str | None = None, expires_in: str | None = None, tenant: str | None = None
    ) -> Thing:
        """Make a key that takes an older one's place; the old one lasts for `grace` more.

        The new one lasts for as long as the old one was made for, unless `expires_in` says otherwise.
        """
        return self._post(f"/v1/keys/{_part(key)}/rotate", {"grace": grace, "expires_in": expires_in}, tenant)

    def revoke_key(self, key: str, *, tenant: str | None = None) -> Thing:
        """Revoke a key for good."""
        return self._transport.call("DELETE", f"/v1/keys/{_part(key)}", query={"tenant": tenant}, again=True)

    def budgets(self, *, tenant: str | None = None) -> list[Thing]:
        """A tenant's budgets, with what is held and spent."""
        return self._list("/v1/budgets", tenant)

    def set_budget(
        self, limit_usd: str | None, *, scope: str = "project", named: str | None = None, period: str = "total",
        tenant: str | None = None,
    ) -> list[Thing]:  # fmt: skip
        """Set a hard limit, or with None take it away; returns all budgets of the tenant."""
        body = {"scope": scope, "named": named, "period": period, "limit_usd": limit_usd}
        found = self._transport.call("PUT", "/v1/budgets", body=body, query={"tenant": tenant}, again=True)
        return cast("list[Thing]", found["data"])

    def quotas(self, *, tenant: str | None = None) -> list[Thing]:
        """A tenant's quotas."""
        return self._list("/v1/quotas", tenant)

    def set_quota(
        self, limits: Mapping[str, int | None], *, scope: str = "project", named: str | None = None, tenant: str | None = None
    ) -> list[Thing]:  # fmt: skip
        """Set the quotas of a scope; what is left out is taken away. Returns all quotas of the tenant."""
        body = {"scope": scope, "named": named, **limits}
        found = self._transport.call("PUT", "/v1/quotas", body=body, query={"tenant": tenant}, again=True)
        return cast("list[Thing]", found["data"])

    def audit(self, *, limit: int = 100, before: int | None = None, tenant: str | None = None) -> list[Thing]:
        """The log of administrative acts, the newest first."""
        query = {"limit": limit, "before": before, "tenant": tenant}
        return cast("list[Thing]", self._transport.call("GET", "/v1/audit", query=query, again=True)["data"])

    def _list(self, path: str, tenant: str | None) -> list[Thing]:
        return cast("list[Thing]", self._transport.call("GET", path, query={"tenant": tenant}, again=True)["data"])

    def _post(self, path: str, body: Mapping[str, Any], tenant: str | None) -> Thing:
        return self._transport.call("POST", path, body=body, query={"tenant": tenant})


def _part(name: str) -> str:
    """A name as one part of a path, whatever it holds."""
    return quote(name, safe="", errors="replace")
