"""Every route of `/openapi.json`, and for each a request that is right: what attacks change is the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.api.test_batches import create, ended, upload
from tests.serving import Api
from tests.stack import chat, rows

JSON = {"Content-Type": "application/json"}
UPLOADS = "/v1/files"
OPEN = ("/livez", "/readyz", "/metrics")
"""Those that ask for no key."""
HOOK = {"name": "hook", "url": "http://127.0.0.1:47999/hook", "event_types": ["batch.failed"]}
TEXTS = {"model": "fast", "input": ["some text"], "user": "u"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/batches": {
        "input_file_id": "{file_id}", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"team": "support"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3_600}, "rightsize": {"task": "triage", "max_cost_usd": "5"},
    },
    "/v1/batches/estimate": {"input_file_id": "{file_id}", "endpoint": "/v1/chat/completions", "rightsize": {"task": "triage"}},
    "/v1/batches/{batch_id}/resume": {"max_cost_usd": "5"},
    "/v1/batches/{batch_id}/retry": {"tier": "up", "only": "bad_request", "completion_window": "24h"},
    "/v1/budgets": {"scope": "project", "named": "victim", "period": "month", "limit_usd": "1000"},
    "/v1/quotas": {"scope": "project", "named": "victim", "requests_per_minute": 10**6},
    "/v1/chat/completions": chat("Hello", user="u", stop=["x"], rightsize={"task": "triage", "instructions": "Answer."}),
    "/v1/completions": {"model": "auto", "prompt": "Hello", "user": "u", "stop": "x"},
    "/v1/responses": {"model": "auto", "input": "Hello", "instructions": "Answer.", "metadata": {"a": "b"}, "user": "u"},
    "/v1/embeddings": TEXTS,
    "/v1/classify": TEXTS,
    "/v1/score": {"model": "fast", "queries": "a", "documents": ["b"]},
    "/v1/explain": {"endpoint": "/v1/chat/completions", "body": chat("Hello")},
    "/v1/jobs": {"endpoint": "/v1/chat/completions", "body": chat("Hello"), "deadline": "1h"},
    "/v1/jobs/{job_id}/feedback": {"good": True, "label": "billing"},
    "/v1/tasks": {"definition": {"name": "sorting", "instructions": "Sort it.", "description": "Text."}},
    "/v1/documents/known": {"task": "summarise", "hashes": ["0" * 64], "rightsize": {"stakes": "low"}},
    "/v1/documents/forget": {"hash": "0" * 64},
    "/v1/reviews/{review_id}": {"action": "correct", "answer": {"issuer": "text"}, "force": False},
    "/v1/tenants": {"name": "victim", "weight": 1},
    "/v1/tenants/{name}": {"weight": 2},
    "/v1/projects": {"name": "victim", "weight": 1},
    "/v1/projects/{name}": {"weight": 2},
    "/v1/keys": {"name": "k", "project": "default", "scopes": ["read"], "expires_in": "1h"},
    "/v1/keys/{key}/rotate": {"grace": "1h"},
    "/v1/webhook_endpoints": HOOK,
    "/v1/webhook_endpoints/{endpoint_id}": HOOK,
    "/v1/webhook_endpoints/{endpoint_id}/rotate_secret": {"keep_old_secret_active_for_24_hours": True},
    "/v1/webhook_endpoints/{endpoint_id}/test": {"event_type": "batch.failed"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    takes_json: bool
    queries: tuple[str, ...]
    names: tuple[str, ...]
    """Of the parameters in the path."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def routes(api: Api) -> list[Route]:
    """All of them."""
    found = []
    for path, methods in api.http.get("/openapi.json").json()["paths"].items():
        for method, said in methods.items():
            given = said.get("parameters", ())
            names, queries = (tuple(one["name"] for one in given if one["in"] == place) for place in ("path", "query"))
            kinds = said.get("requestBody", {}).get("content", {})
            found.append(Route(method.upper(), path, "application/json" in kinds, queries, names))
    return found


def things(api: Api) -> dict[str, str]:
    """Things of the caller's that exist, by the name of the path parameter that shows them."""
    for path in ("/v1/tenants", "/v1/projects"):
        assert api.post(path, BODIES[path]).status_code in (201, 409)
    batch = ended(api, create(api, rows(1)))
    answered = api.post("/v1/responses", {"model": "auto", "input": "x"}).json()["id"]
    made = {
        "batch_id": batch.id, "file_id": upload(api, rows(1)), "response_id": answered, "name": "victim",
        "job_id": api.post("/v1/jobs", {"body": chat("x")}).json()["id"], "key": api.post("/v1/keys", {"name": "k"}).json()["id"],
        "task_name": "summarise", "delivery_id": f"msg_{'0' * 32}", "refusal_id": f"refusal_{'0' * 32}",
        "review_id": f"review_{'0' * 32}",
    }  # fmt: skip
    hook = api.post("/v1/webhook_endpoints", HOOK).json()
    return {**made, "endpoint_id": hook["id"]}


def body_of(path: str, known: dict[str, str]) -> dict[str, Any]:
    """A body that is right for a route."""
    body = copy.deepcopy(BODIES[path])
    if "input_file_id" in body:
        body["input_file_id"] = known["file_id"]
    return body


def address(path: str, known: dict[str, str]) -> str:
    """A path with its parameters put in."""
    return path.format(**known)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of every text in a body."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*place, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*place, index))
    elif isinstance(value, str):
        yield place


def changed(body: dict[str, Any], place: Sequence[Any], value: Any) -> dict[str, Any]:
    """A body with another value at one place."""
    out = copy.deepcopy(body)
    at: Any = out
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return out


def must_be_sound(response: httpx2.Response, *, refused: bool = False) -> None:
    """What every answer to an attack is: no fault of ours, whole, small where it refuses, and in OpenAI's form then."""
    assert response.status_code < 500, response.text[:500]
    assert not refused or response.status_code >= 400, response.text[:500]
    assert "set-cookie" not in response.headers
    if response.status_code >= 400:
        assert len(response.content) < 16_384
        assert set(response.json()["error"]) >= {"message", "type", "param", "code"}
        assert "Traceback" not in response.text
