"""Nobody locks everyone out, keys keep their lifetime, and a limit is set for whom it names."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx2
import pytest
from sqlalchemy import text

from orchestrator import commands
from orchestrator.doctor import examine
from orchestrator.errors import Conflict
from orchestrator.settings import Settings
from orchestrator.store.session import Database
from tests.serving import Api
from tests.stack import until


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def change(settings: Settings, *statements: str) -> None:
    with closing(Database(settings, "orchestrator", connections=1)) as database, database.unit_of_work() as session:
        for statement in statements:
            session.execute(text(statement))


def told(response: httpx2.Response) -> str:
    """What an error says."""
    return str(response.json()["error"]["message"])


def test_the_house_and_its_last_enabled_project_cannot_be_disabled(api: Api) -> None:
    refused = api.post("/v1/tenants/default", {"disabled": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (409, "disabled")
    assert "keys revoke" in told(refused)
    refused = api.post("/v1/projects/default", {"disabled": True})
    assert refused.status_code == 409
    assert "projects create" in told(refused)
    assert api.client.admin.change_tenant("default", weight=1)["disabled_at"] is None
    api.client.admin.create_project("spare")
    assert api.client.admin.change_project("spare", disabled=True)["disabled_at"] is not None
    assert api.post("/v1/projects/default", {"disabled": True}).status_code == 409, "the other one is disabled"
    api.client.admin.change_project("spare", disabled=False)
    assert api.client.admin.change_project("spare", disabled=True)["disabled_at"] is not None


def test_of_two_projects_of_the_house_disabled_at_once_one_stays(api: Api) -> None:
    api.client.admin.create_project("twin")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: api.post(f"/v1/projects/{name}", {"disabled": True}), ("default", "twin")))
    stays = api.stack.query("SELECT name FROM projects WHERE tenant_id = 1 AND disabled_at IS NULL")
    change(api.stack.settings, "UPDATE projects SET disabled_at = NULL WHERE name = 'default'")
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(stays) == 1


def test_no_key_is_made_for_a_disabled_tenant_or_project_and_the_cause_is_told(api: Api) -> None:
    api.client.admin.create_tenant("asleep")
    api.client.admin.create_project("quiet", tenant="asleep")
    api.client.admin.change_project("quiet", disabled=True, tenant="asleep")
    refused = api.post("/v1/keys?tenant=asleep", {"name": "x", "project": "quiet"})
    assert refused.status_code == 409
    assert "The project 'quiet' is disabled" in told(refused)
    assert "rightsize projects change quiet --enable --tenant asleep" in told(refused)
    api.client.admin.change_tenant("asleep", disabled=True)
    refused = api.post("/v1/keys?tenant=asleep", {"name": "x"})
    assert refused.status_code == 409
    assert "rightsize tenants change asleep --enable" in told(refused)
    assert api.client.admin.keys(tenant="asleep") == []


def test_a_house_that_was_disabled_is_rescued_from_the_command_line(api: Api) -> None:
    settings = api.stack.settings
    change(
        settings, "UPDATE tenants SET disabled_at = now() WHERE id = 1", "UPDATE projects SET disabled_at = now() WHERE tenant_id = 1"
    )  # fmt: skip
    try:
        until(lambda: api.http.get("/v1/models").status_code == 401, 4, "the house is locked out")
        (found,) = [one for one in examine(settings) if one.name == "disabled house"]
        assert not found.holds
        assert "--enable" in found.detail
        with pytest.raises(Conflict, match="The tenant 'default' is disabled"):
            commands.create_key(settings, "rescue")
        made = commands.create_key(settings, "rescue", scopes=["admin"], disabled="enable")
        assert api.http.get("/v1/tenants", headers=as_(made["key"])).status_code == 200
        until(lambda: api.http.get("/v1/models").status_code == 200, 4, "the others are taken again")
        assert [one for one in examine(settings) if one.name == "disabled house"] == []
        acts = [(act["action"], act["actor"]) for act in api.client.admin.audit(limit=3)]
        assert acts == [(what, "command line") for what in ("key.created", "project.changed", "tenant.changed")]
    finally:
        change(
            settings,
            "UPDATE tenants SET disabled_at = NULL",
            "UPDATE projects SET disabled_at = NULL WHERE name = 'default'",
        )


def test_a_rotated_key_keeps_its_lifetime_or_takes_the_one_that_is_given(api: Api) -> None:
    def lasts_s(made: dict[str, object]) -> float:
        return float(str(made["expires_at"])) - time.time()

    old = api.client.admin.create_key("lasting", expires_in="90d")
    change(
        api.stack.settings,
        "UPDATE api_keys SET created_at = created_at - interval '30 days', expires_at = expires_at - interval '30 days' "
        "WHERE name = 'lasting'",
    )
    newer = api.client.admin.rotate_key(old["id"], grace="1h")
    assert lasts_s(newer) == pytest.approx(90 * 86_400, abs=60)
    assert lasts_s(api.client.admin.rotate_key(newer["id"], expires_in="12h")) == pytest.approx(43_200, abs=60)
    for_good = api.client.admin.create_key("for-good")
    assert api.client.admin.rotate_key(for_good["id"])["expires_at"] is None
    refused = api.post(f"/v1/keys/{newer['id']}/rotate", {"expires_in": "11y"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "expires_in")


def test_a_key_that_has_expired_is_rotated_no_more_than_a_revoked_one(api: Api) -> None:
    made = api.client.admin.create_key("over", expires_in="1h")
    change(api.stack.settings, "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'over'")
    refused = api.post(f"/v1/keys/{made['id']}/rotate", {})
    assert refused.status_code == 409
    assert "has expired" in told(refused)
    listed = api.http.get("/v1/keys").json()["data"]
    assert len([key for key in listed if key["name"] == "over"]) == 1


@pytest.mark.parametrize("path, limit", [("/v1/quotas", {"jobs_queued": 5}), ("/v1/budgets", {"limit_usd": "5"})])
def test_a_tenants_limit_takes_no_name_but_its_own(api: Api, path: str, limit: dict[str, object]) -> None:
    name = f"acme-{path[4]}"
    api.client.admin.create_tenant(name)
    refused = api.http.put(path, json={**limit, "scope": "tenant", "named": name})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "named")
    assert "--tenant NAME" in told(refused)
    set_for = [
        row["scope"] for row in api.http.get(path).json()["data"] if row.get("limit_usd") or row.get("jobs_queued")
    ]
    assert "tenant" not in set_for, "the caller's own tenant was not limited"
    taken = api.http.put(f"{path}?tenant={name}", json={**limit, "scope": "tenant", "named": name})
    assert taken.status_code == 200
    off = dict.fromkeys(limit)
    assert api.http.put(f"{path}?tenant={name}", json={**off, "scope": "tenant"}).status_code == 200
