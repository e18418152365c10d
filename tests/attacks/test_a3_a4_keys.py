"""Attacks on keys, and headers that pretend to be somebody: A3 and A4."""

from __future__ import annotations

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.client import Rightsize
from orchestrator.flow.authenticate import PREFIX_CHARS, hash_of, new_key
from tests.attacks.alone import answer, connect
from tests.attacks.routes import OPEN, routes
from tests.serving import Api, make_key
from tests.stack import chat, until

LOOKED_FOR = 400


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refusal_s(api: Api, key: str) -> float:
    began = time.perf_counter()
    assert api.http.get("/v1/models", headers=as_(key)).status_code == 401
    return time.perf_counter() - began


def test_a3_how_long_a_refusal_takes_says_nothing_about_how_much_of_a_key_is_right(api: Api) -> None:
    """Right to the last character but one, right to its stored prefix, and wrong from the start: in turns, so that all share the noise."""
    real = make_key(api.stack.settings)
    guesses = {"most": len(real) - 12, "prefix": PREFIX_CHARS, "nothing": 3}
    took: dict[str, list[float]] = {name: [] for name in guesses}
    for _ in range(LOOKED_FOR):
        for name in random.sample(sorted(guesses), len(guesses)):
            right = guesses[name]
            took[name].append(refusal_s(api, real[:right] + new_key()[right:]))
    medians = {name: statistics.median(one) for name, one in took.items()}
    # A comparison that stops at the first difference would take nanoseconds a character: what is bounded is a look-up by prefix.
    assert max(medians.values()) - min(medians.values()) < 0.2 * min(medians.values()) + 0.0005, medians


def test_a3_a_key_is_looked_for_by_its_hash_alone(api: Api) -> None:
    real = make_key(api.stack.settings)
    (stored,) = api.stack.query("SELECT hash, prefix FROM api_keys ORDER BY id DESC LIMIT 1")
    assert bytes(stored.hash) == hash_of(real)
    near = real[:-1] + ("A" if real[-1] != "A" else "B")
    same = sum(one == other for one, other in zip(hash_of(real), hash_of(near), strict=True))
    assert same < 8
    for guess in (
        stored.prefix,
        f"{stored.prefix}%",
        f"{stored.prefix}{'_' * (len(real) - PREFIX_CHARS)}",
        real + "x",
        real[:-1],
    ):
        assert api.http.get("/v1/models", headers=as_(guess)).status_code == 401


def test_a3_every_way_to_be_unknown_is_told_in_the_same_words(api: Api, client: Rightsize) -> None:
    admin = client.admin
    revoked, expired, other = (admin.create_key(name) for name in ("revoked", "expired", "other"))
    admin.revoke_key(revoked["id"])
    api.stack.query("SELECT 1")
    with api.stack.context.database.unit_of_work() as session:
        session.connection().exec_driver_sql(
            "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'expired'"
        )
    admin.create_tenant("closed")
    closed = admin.create_key("closed", tenant="closed")
    admin.change_tenant("closed", disabled=True)
    gone = [revoked["key"], expired["key"], closed["key"], new_key()]
    told = {api.http.get("/v1/models", headers=as_(key)).text for key in gone}
    assert len(told) == 1
    assert api.http.get("/v1/models", headers=as_(other["key"])).status_code == 200


def test_a3_a_key_that_is_revoked_while_it_is_used_is_refused_on_every_route_within_seconds(
    api: Api, client: Rightsize
) -> None:
    made = client.admin.create_key("busy", scopes=["submit", "read", "admin"])
    headers = as_(made["key"])
    with ThreadPoolExecutor(4) as pool:
        flood = [pool.submit(api.http.get, "/v1/models", headers=headers) for _ in range(200)]
        client.admin.revoke_key(made["id"])
        revoked_at = time.monotonic()
        assert {one.result().status_code for one in flood} <= {200, 401}
    # Neither use nor a flood of uses keeps it fresh.
    until(lambda: api.http.get("/v1/models", headers=headers).status_code == 401, 4, "the key is refused")
    assert time.monotonic() - revoked_at < 4
    for route in routes(api):
        if route.path not in OPEN:
            path = route.path.replace("{", "").replace("}", "")
            assert api.http.request(route.method, path, headers=headers, json={}).status_code == 401, route
    again = api.http.post("/v1/jobs", json={"body": chat("late")}, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a3_a_rotated_key_without_grace_ends_at_once_and_cannot_rotate_itself_back(api: Api, client: Rightsize) -> None:
    made = client.admin.create_key("old", scopes=["admin"])
    newer = client.admin.rotate_key(made["id"])
    until(lambda: api.http.get("/v1/keys", headers=as_(made["key"])).status_code == 401, 4)
    assert api.http.post(f"/v1/keys/{made['id']}/rotate", headers=as_(made["key"]), json={}).status_code == 401
    assert api.http.get("/v1/keys", headers=as_(newer["key"])).status_code == 200


def test_a3_a_flood_of_unknown_keys_neither_fills_memory_nor_shuts_others_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.keys.MOST_KEYS", 50)
    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(api.http.get, "/v1/models", headers=as_(new_key())) for _ in range(400)]
        mine = [api.http.get("/v1/models").status_code for _ in range(20)]
        assert {one.result().status_code for one in flood} == {401}
    assert set(mine) == {200}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "DELETE"}, {"X-HTTP-Method": "DELETE"}, {"X-Method-Override": "DELETE"},
        {"X-Original-URL": "/v1/tenants"}, {"X-Rewrite-URL": "/v1/tenants"}, {"X-Forwarded-Prefix": "/v1/tenants"},
        {"X-Forwarded-Host": "evil"}, {"Forwarded": "for=127.0.0.1;host=evil;proto=https"}, {"X-Real-IP": "127.0.0.1"},
        {"X-Tenant-Id": "2", "X-Project-Id": "2", "OpenAI-Organization": "tenant_2", "OpenAI-Project": "proj_2"},
        {"X-Api-Key": "rs_x", "Api-Key": "rs_x", "Cookie": "key=rs_x; session=admin", "Proxy-Authorization": "Bearer rs_x"},
        {"X-User": "root", "X-Remote-User": "root", "X-Admin": "true", "X-Scopes": "admin"},
    ],
    ids=str,
)  # fmt: skip
def test_a4_a_header_that_claims_something_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    reader = make_key(api.stack.settings, scopes=["read"])
    plain = api.http.get("/v1/batches", headers=as_(reader))
    claimed = api.http.get("/v1/batches", headers={**as_(reader), **headers})
    assert (claimed.status_code, claimed.content) == (plain.status_code, plain.content)
    assert "evil" not in str(claimed.headers)
    over = api.http.post("/v1/batches", headers={**as_(reader), **headers}, json={})
    assert (over.status_code, over.json()["error"]["code"]) == (403, "insufficient_scope")
    alone = {"Authorization": "", **headers}
    assert api.http.get("/v1/batches", headers=alone).status_code == 401


@pytest.mark.parametrize(
    "request_line, more",
    [
        (b"GET http://evil.example/v1/models HTTP/1.1", b""),
        (b"GET //evil.example/v1/models HTTP/1.1", b""),
        (b"GET /v1/models HTTP/1.1", b"Host: evil.example\r\nHost: other\r\n"),
        (b"GET /v1/models HTTP/1.1", b"Host: [::1]:6379\r\n"),
        (b"OPTIONS * HTTP/1.1", b"Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n"),
        (b"OPTIONS /v1/models HTTP/1.1", b"Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n"),
        (b"CONNECT 127.0.0.1:6379 HTTP/1.1", b""),
        (b"TRACE /v1/models HTTP/1.1", b""),
        (b"GET /v1/models HTTP/1.1", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n"),
        (b"PRI * HTTP/2.0", b""),
    ],
    ids=range(10),
)  # fmt: skip
def test_a4_a_request_line_or_host_that_means_another_server_leads_nowhere(
    api: Api, request_line: bytes, more: bytes
) -> None:
    with connect(api) as link:
        link.sendall(
            request_line + b"\r\n" + more + f"Authorization: Bearer {api.key}\r\nConnection: close\r\n\r\n".encode()
        )
        said = answer(link)
    status = int(said.split()[1]) if said else 0
    assert status in (0, 200, 400, 404, 405), said[:200]
    assert b"evil" not in said.split(b"\r\n\r\n")[0]
    assert b"access-control-allow" not in said.lower()
    assert api.key.encode() not in said


def test_a4_a_key_stands_only_in_its_header(api: Api) -> None:
    for query in ("api_key", "key", "token", "access_token", "authorization"):
        response = api.http.get(f"/v1/models?{query}={api.key}", headers={"Authorization": ""})
        assert response.status_code == 401
        assert api.key not in response.text
    basic = api.http.get("/v1/models", headers={"Authorization": ""}, params={}, auth=("rs", api.key))
    assert basic.status_code == 401
    assert api.stack.doctor() == []
