"""Mass assignment: whatever else a caller puts into a request, it decides nothing; A5, and the ids of others in bodies: A1."""

from __future__ import annotations

import re

import orjson
import pytest

from orchestrator.client import Rightsize
from tests.api.test_batches import ended, jsonl
from tests.attacks.routes import BODIES, address, body_of, changed, routes, things
from tests.serving import Api
from tests.stack import chat, row, rows, until

FORBIDDEN = {
    "tenant_id": 2, "tenant": "other", "project_id": 2, "api_key_id": 2, "owner": {"tenant_id": 2}, "id": 1, "public_id": "0" * 32,
    "job_id": 1, "batch_id": 1, "price": "0", "prices": {"input": "0"}, "rates": [], "price_version": 1, "cost_usd": "0", "charge_usd": "0",
    "held_usd": "0", "worst_usd": "0", "spent_usd": "-5", "state": 10, "status": "completed", "attempt": 9, "attempts": -1, "max_attempts": 99,
    "priority": 1000, "lane": 0, "dispatch_id": 1, "lease_until": "2999-01-01", "claim_by": "2999-01-01", "created_at": 0, "ended_at": 0,
    "expires_at": 0, "deadline_at": 0, "interactive": True, "requeued": True, "simulated": False, "rule": "explicit_model", "reasons": [],
    "route": {"model": "thinker"}, "features": {}, "held_back": None, "blob_key": "../../etc/passwd", "hash": "00", "prefix": "rs_", "secrets": ["x"],
    "is_house": True, "disabled_reason": "", "fault_code": "", "final": {}, "total": 0, "slots": 10**6, "worker_id": "w", "model_revision": "x",
    "__proto__": {"admin": True}, "constructor": {}, "__class__": "x", "$set": {"state": 10},
}  # fmt: skip
BORN = (
    "SELECT (SELECT count(*) FROM jobs WHERE tenant_id <> 1), (SELECT count(*) FROM batches WHERE tenant_id <> 1), "
    "(SELECT count(*) FROM files WHERE tenant_id <> 1), (SELECT count(*) FROM webhook_endpoints WHERE tenant_id <> 1), "
    "(SELECT count(*) FROM projects WHERE tenant_id NOT IN (SELECT id FROM tenants WHERE name IN ('default', 'victim', 'other')))"
)


@pytest.fixture(scope="module")
def known(api: Api, client: Rightsize) -> dict[str, str]:
    client.admin.create_tenant("other")
    return things(api)


@pytest.mark.parametrize("path", sorted(BODIES))
def test_a5_a_field_that_is_ours_to_set_is_refused_by_name(api: Api, known: dict[str, str], path: str) -> None:
    (route,) = (one for one in routes(api) if one.path == path and one.takes_json)
    before = tuple(api.stack.query(BORN)[0])
    jobs = api.stack.count("SELECT count(*) FROM jobs")
    for name, value in FORBIDDEN.items():
        response = api.http.request(route.method, address(path, known), json={**body_of(path, known), name: value})
        assert 400 <= response.status_code < 500, (name, response.status_code, response.text[:300])
        assert name in response.json()["error"]["message"], (name, response.text[:300])
    assert tuple(api.stack.query(BORN)[0]) == before
    assert api.stack.count("SELECT count(*) FROM jobs") == jobs, "nothing was made"


@pytest.mark.parametrize("inner", ["rightsize", "body"])
def test_a5_the_same_within_hints_and_bodies(api: Api, known: dict[str, str], inner: str) -> None:
    paths = [path for path, body in BODIES.items() if inner in body]
    assert paths
    for path in paths:
        body = body_of(path, known)
        for name, value in FORBIDDEN.items():
            response = api.post(address(path, known), {**body, inner: {**body[inner], name: value}})
            assert 400 <= response.status_code < 500, (path, name, response.text[:300])


def test_a5_fields_beside_a_batch_row_and_within_it_set_nothing(api: Api) -> None:
    lines = [row("plain", chat("x"))]
    lines += [{**row(f"beside-{name}", chat("x", model="fast")), name: value} for name, value in FORBIDDEN.items()]
    lines += [row(f"within-{name}", chat("x", **{name: value})) for name, value in FORBIDDEN.items()]
    file_id = api.openai.files.create(file=("r.jsonl", jsonl(lines)), purpose="batch").id
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "rightsize": {"on_invalid_row": "report"}}
    batch = ended(api, api.post("/v1/batches", body).json()["id"])
    assert batch.request_counts.failed == len(FORBIDDEN), "each within the body"
    assert batch.request_counts.completed == 1 + len(FORBIDDEN), "what stands beside is ignored"
    owners = api.stack.query(
        "SELECT DISTINCT tenant_id, project_id, attempts, tier, model FROM jobs WHERE state = 10 AND custom_id LIKE 'beside-%'"
    )
    assert [tuple(one) for one in owners] == [(1, 1, 1, "llm", "fast")]
    assert api.stack.doctor() == []


def test_a5_fields_of_a_form_and_queries_that_nobody_asked_for_are_ignored(api: Api, known: dict[str, str]) -> None:
    fields = {name: str(value) for name, value in list(FORBIDDEN.items())[:20]}
    made = api.http.post("/v1/files", data={**fields, "purpose": "batch"}, files={"file": ("x", b"{}\n")}).json()
    (stored,) = api.stack.query("SELECT tenant_id, project_id, bytes, blob_key FROM files ORDER BY id DESC LIMIT 1")
    assert (stored.tenant_id, stored.project_id, stored.bytes) == (1, 1, 3)
    assert stored.blob_key == f"inputs/{made['id'].removeprefix('file_')}"
    flood = "&".join(f"{name}=2" for name in FORBIDDEN if name != "tenant")
    for path in ("/v1/batches", "/v1/files", "/v1/cost", f"/v1/jobs/{known['job_id']}"):
        assert api.http.get(f"{path}?{flood}").json() == api.http.get(path).json(), path
    made = api.http.post(f"/v1/jobs?{flood}", json={"body": chat("x")}).json()
    until(lambda: api.http.get(f"/v1/jobs/{made['id']}").json()["state"] == "succeeded", 10)


@pytest.mark.parametrize(
    "path", ["/v1/jobs/{job_id}/cancel", "/v1/batches/{batch_id}/cancel", "/v1/batches/{batch_id}/pause"]
)
def test_a5_a_body_where_none_is_read_changes_nothing(api: Api, known: dict[str, str], path: str) -> None:
    with_body = api.http.post(address(path, known), json={"state": 10, "cost_usd": "0", "tenant_id": 2})
    without = api.http.post(address(path, known))
    assert (with_body.status_code, with_body.json()) == (without.status_code, without.json())


def test_a5_a_key_gets_no_scope_that_is_not_asked_for_and_none_that_does_not_exist(api: Api) -> None:
    for scopes in (["root"], ["admin", "house"], ["*"], [], ["read"] * 4, "admin", {"admin": True}, [None]):
        assert api.post("/v1/keys", {"name": "x", "scopes": scopes}).status_code == 400, scopes
    made = api.post("/v1/keys", {"name": "plain"}).json()
    assert made["scopes"] == ["submit", "read"]
    refused = api.http.post(
        "/v1/keys", json={"name": "x", "scopes": ["admin"]}, headers={"Authorization": f"Bearer {made['key']}"}
    )
    assert refused.status_code == 403, "a key without admin makes none with it"


def test_a1_another_tenants_id_in_a_body_or_query_is_as_unknown_as_any_other(
    api: Api, client: Rightsize, known: dict[str, str]
) -> None:
    admin = client.admin
    boss = admin.create_key("boss", scopes=["submit", "read", "admin"], tenant="other")["key"]
    project = next(one["id"] for one in admin.projects() if one["name"] == "victim")
    mine = {**known, "project": project}
    stranger = {"Authorization": f"Bearer {boss}"}
    asked = [
        ("POST", "/v1/batches", {"input_file_id": "{file_id}", "endpoint": "/v1/chat/completions"}),
        ("POST", "/v1/batches/estimate", {"input_file_id": "{file_id}", "endpoint": "/v1/chat/completions"}),
        ("POST", "/v1/keys", {"name": "x", "project": "{project}"}),
        ("PUT", "/v1/budgets", {"scope": "project", "named": "{project}", "limit_usd": "0"}),
        ("PUT", "/v1/budgets", {"scope": "key", "named": "{key}", "limit_usd": "0"}),
        ("PUT", "/v1/quotas", {"scope": "key", "named": "{key}", "jobs_queued": 1}),
        *(("GET", path, None) for path in ("/v1/batches?after={batch_id}", "/v1/files?after={file_id}", "/v1/cost?batch={batch_id}",
            "/v1/usage?batch={batch_id}", "/v1/webhook_endpoints?after={endpoint_id}", "/v1/webhook_deliveries?endpoint={endpoint_id}")),
    ]  # fmt: skip
    for method, path, body in asked:
        told = []
        for values in (mine, {name: re.sub(r"[0-9a-f]{32}", "0" * 32, value) for name, value in mine.items()}):
            sent = None
            if body is not None:
                text = orjson.dumps(body).decode()
                for name, value in values.items():
                    text = text.replace("{" + name + "}", value)
                sent = orjson.loads(text)
            response = api.http.request(method, path.format(**values), json=sent, headers=stranger)
            told.append((response.status_code, re.sub(r"[0-9a-f]{32}", "", response.text)))
        assert told[0] == told[1], (method, path)
        assert told[0][0] == 404, (method, path, told)


def test_every_route_that_takes_json_is_attacked(api: Api) -> None:
    assert {route.path for route in routes(api) if route.takes_json} == set(BODIES)
    assert rows(1)
    assert changed({"a": [1]}, ("a", 0), 2) == {"a": [2]}
