"""What the contract's runs found wrong, once each, so that it stays right."""

from __future__ import annotations

import pytest

from tests.serving import Api


@pytest.mark.parametrize(
    "method, path", [("GET", "/v1/projects?tenant=%00"), ("POST", "/v1/projects/x?tenant=a%00b"), ("GET", "/v1/models/%00")]
)  # fmt: skip
def test_a_nul_in_an_address_is_refused_and_no_fault_of_ours(api: Api, method: str, path: str) -> None:
    response = api.http.request(method, path, json={} if method == "POST" else None)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "path, methods", [("/v1/files", "GET, POST"), ("/v1/quotas", "GET, PUT"), ("/v1/keys/key_x", "DELETE")]
)
def test_a_method_that_is_not_served_is_told_all_that_are(api: Api, path: str, methods: str) -> None:
    response = api.http.request("PATCH", path)
    assert (response.status_code, response.headers["allow"]) == (405, methods)
    assert methods in response.json()["error"]["message"]


@pytest.mark.parametrize("query", ["until=0", "since=2026-13-01", "by=tier,", "by=tier,nothing", "by="])
def test_days_and_keys_of_usage_are_what_they_must_be(api: Api, query: str) -> None:
    response = api.http.get(f"/v1/usage?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == query.partition("=")[0]


def test_a_whole_number_is_one_however_json_writes_it(api: Api) -> None:
    made = api.http.post("/v1/projects", json={"name": "whole", "weight": 3.0})
    assert (made.status_code, made.json()["weight"]) == (201, 3)
    assert api.http.post("/v1/projects", json={"name": "half", "weight": 3.5}).status_code == 400
    assert api.http.post("/v1/projects", json={"name": "text", "weight": "3"}).status_code == 400


def test_an_empty_window_is_no_window(api: Api) -> None:
    response = api.http.post("/v1/keys", json={"name": "never", "expires_in": ""})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "expires_in")


def test_every_response_has_an_id_of_its_own_whatever_becomes_of_it(api: Api) -> None:
    paths = ("/livez", "/v1/models", "/v1/nothing", "/v1/batches/batch_x", "/v1/models?x=%00")
    names = [api.http.get(path).headers["x-request-id"] for path in (*paths, *paths)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("req_") for name in names)
