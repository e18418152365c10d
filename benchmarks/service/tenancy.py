"""Reads across tenants: every id of one tenant, on every route that takes one, by callers of every other tenant with every set of scopes."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from benchmarks.report import Row, Scale, at_least, at_most, told
from benchmarks.service.administering import SCOPES, admin, answered
from benchmarks.service.ours import Ours, service
from benchmarks.stack import fleet
from tests import stack as tests_stack
from tests.api.test_batches import create, ended, upload
from tests.attacks.routes import HOOK, OPEN, Route, address, body_of, routes
from tests.serving import Api

ROLES: Final = [held for count in (1, 2, 3) for held in itertools.combinations(SCOPES, count)]
HOUSE: Final = "default"
TENANTS: Final = ("one", "other")
ATTACKS: Final = (("one", "other"), ("one", HOUSE), (HOUSE, "other"))
"""Whose things, and who asks for them."""
EVERYONES: Final = "/v1/models/{name}"
OF_THE_HOUSE: Final = "/v1/tenants/{name}"
"""By which the house administers the tenants, as it should."""
REFERS: Final = (
    ("POST", "/v1/batches", {"endpoint": "/v1/chat/completions", "completion_window": "24h"}, "input_file_id", "file_id"),
    ("POST", "/v1/batches/estimate", {"endpoint": "/v1/chat/completions"}, "input_file_id", "file_id"),
    ("POST", "/v1/responses", {"model": "auto", "input": "x"}, "previous_response_id", "response_id"),
    ("POST", "/v1/keys", {"name": "k"}, "project", "project"),
    ("PUT", "/v1/budgets", {"scope": "project", "period": "month", "limit_usd": "1"}, "named", "project"),
    ("PUT", "/v1/quotas", {"scope": "project", "requests_per_minute": 1}, "named", "project"),
    ("PUT", "/v1/budgets", {"scope": "key", "period": "month", "limit_usd": "1"}, "named", "key"),
)  # fmt: skip
"""Bodies that name a thing: method, path, the rest of the body, the field, and which thing."""
ID: Final = "[0-9a-f]{32}"
REVIEWED: Final = """
    INSERT INTO reviews (public_id, tenant_id, batch_id, job_id, stored_on, task, task_version, document_name, document_hash, fields)
    SELECT gen_random_uuid(), j.tenant_id, j.batch_id, j.id, j.stored_on, 'extract', 1, %s, '\\x00'::bytea, '{}'
    FROM jobs j JOIN results r ON r.job_id = j.id WHERE j.tenant_id = %s AND j.batch_id <> 0 ORDER BY j.id DESC LIMIT 1
    RETURNING public_id
"""
REFUSED: Final = (
    "INSERT INTO refusals (tenant_id, task_id, code, message, request) VALUES (%s, 'x', 'bad', %s, '{}') RETURNING id"
)


@dataclass(slots=True)
class Tenant:
    """One tenant with a caller for each role, and things of its own."""

    name: str
    api: Api
    """With every scope."""
    callers: Mapping[tuple[str, ...], httpx2.Client]
    things: dict[str, str]

    @property
    def secret(self) -> str:
        """A word that stands in all that it made."""
        return f"secret-of-{self.name}"


@dataclass(slots=True)
class Found:
    """What came of all that was tried."""

    asked: int = 0
    reads: list[str] = field(default_factory=list)
    told_apart: list[str] = field(default_factory=list)

    def look(self, what: str, answers: Sequence[httpx2.Response], ids: Sequence[str]) -> None:
        """Hold the answer about another's thing against that about one that nobody has."""
        one, unknown = answers
        self.asked += 2
        texts = [_bare(response.text, name) for response, name in zip(answers, ids, strict=True)]
        if one.status_code < 400 and (unknown.status_code >= 400 or texts[0] != texts[1]):
            self.reads.append(f"{what}: {one.status_code}")
        elif (one.status_code, texts[0]) != (unknown.status_code, texts[1]):
            self.told_apart.append(f"{what}: {one.status_code}, unknown {unknown.status_code}")

    def search(self, what: str, response: httpx2.Response, owner: Tenant) -> None:
        """Look for anything of a tenant's in an answer."""
        self.asked += 1
        hidden = [owner.secret, *(name for kind, name in owner.things.items() if kind != "refusal_id")]
        self.reads += [f"{what}: {name}" for name in hidden if name in response.text]


def measure(scale: Scale) -> list[Row]:
    found, roles = Found(), ROLES[-2:] if scale.quick else ROLES
    with service(fleet(), webhook_networks="127.0.0.0/8") as ours, admin(ours) as boss, ExitStack() as stack:
        there = {name: stack.enter_context(_tenant(ours, boss, name)) for name in (HOUSE, *TENANTS)}
        known = routes(there[HOUSE].api)
        own, before = {}, {}
        for name, tenant in there.items():
            own[name] = _by_id(known, tenant)
            before[name] = _shown(tenant, own[name])
        for owner, asking in ATTACKS:
            for role in roles:
                _attack(found, known, there[owner], there[asking], role)
        changed = [name for name, tenant in there.items() if _shown(tenant, own[name]) != before[name]]
        own_reads = Found()
        _attack(own_reads, known, there["one"], there["one"], SCOPES)
    paths = {route.path for routes_ in own.values() for route in routes_}
    return rows(found, len(own_reads.reads), len(paths), len(roles), changed)


def rows(found: Found, own_reads: int, paths: int, roles: int, changed: list[str]) -> list[Row]:
    shape = (
        f"{paths} paths with an id, each list and query, and {len(REFERS)} bodies that name a thing; {roles} sets of scopes; by "
        "another tenant, by the house and against the house; each beside the same of an id that nobody has"
    )
    return [
        at_most("reads across tenants", len(found.reads), 0, "", note="; ".join(found.reads[:5]) or shape),
        at_most("ids of others that are told from unknown ones", len(found.told_apart), 0, "", note="; ".join(found.told_apart[:5])),
        at_most("tenants whose things were changed by it", len(changed), 0, "", note=", ".join(changed)),
        at_least("paths with an id that were tried", paths, 15, "", note="the owner was answered on each that shows its thing"),
        at_least("reads by the owner, by the same means", own_reads, paths, "", note="so that a read would have shown"),
        told("requests that tried", found.asked, "requests"),
    ]  # fmt: skip


@contextmanager
def _tenant(ours: Ours, boss: httpx2.Client, name: str) -> Iterator[Tenant]:
    """A tenant with keys of every role, and one of each thing that has an id."""
    if name != HOUSE:
        answered(boss.post("/v1/tenants", json={"name": name}))
    with ExitStack() as stack:

        def caller(scopes: tuple[str, ...]) -> tuple[str, httpx2.Client]:
            made = answered(
                boss.post("/v1/keys", params={"tenant": name}, json={"name": "role", "scopes": list(scopes)})
            )
            headers = {"Authorization": f"Bearer {made['key']}"}
            return made["key"], stack.enter_context(
                httpx2.Client(base_url=ours.target.url, headers=headers, timeout=60.0)
            )

        callers = {role: caller(role) for role in ROLES}
        key, http = callers[SCOPES]
        api = Api(ours.target.url, key, tests_stack.Stack(ours.stack.settings), http)
        tenant = Tenant(name, api, {role: http for role, (_, http) in callers.items()}, {})
        tenant.things = _things(ours, tenant)
        yield tenant


def _things(ours: Ours, tenant: Tenant) -> dict[str, str]:
    """Things that exist, by the name of the path parameter that shows them."""
    api, secret = tenant.api, tenant.secret
    # Nobody listens there: a delivery that fails is one too.
    hook = answered(api.post("/v1/webhook_endpoints", {**HOOK, "name": secret, "url": f"http://127.0.0.1:{_deaf()}/hook",
                                                       "event_types": ["batch.completed"]}))  # fmt: skip
    lines = tests_stack.rows(2, secret)
    batch = ended(api, create(api, lines))
    deliveries = tests_stack.until(
        lambda: answered(api.http.get("/v1/webhook_deliveries"))["data"], 30, "the batch is told of"
    )
    project = answered(api.post("/v1/projects", {"name": f"project-{secret}"}))
    with ours.stack.connect() as connection:
        row = connection.execute("SELECT id FROM tenants WHERE name = %s", [tenant.name]).fetchone()
        refused = connection.execute(REFUSED, [*(row or ()), secret]).fetchone()
        review = connection.execute(REVIEWED, [secret, *(row or ())]).fetchone()
    assert refused is not None
    assert review is not None
    task = {"name": secret, "instructions": f"Sort what {secret} sends.", "description": "Text."}
    return {
        "batch_id": batch.id, "file_id": upload(api, lines), "endpoint_id": hook["id"], "delivery_id": deliveries[0]["id"],
        "job_id": answered(api.post("/v1/jobs", {"body": tests_stack.chat(secret)}))["id"],
        "response_id": answered(api.post("/v1/responses", {"model": "auto", "input": secret}))["id"],
        "key": answered(api.post("/v1/keys", {"name": secret}))["id"], "project": project["name"], "refusal_id": str(refused[0]),
        "task_name": answered(api.post("/v1/tasks", {"definition": task}))["name"], "review_id": f"review_{review[0].hex}",
    }  # fmt: skip


def _deaf() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _by_id(known: list[Route], owner: Tenant) -> list[Route]:
    """The routes with an id in their path; fails for a parameter of which the owner has nothing."""
    found = [route for route in known if route.names and route.path != EVERYONES]
    lacking = {name for route in found for name in route.names} - {*owner.things, "name"}
    assert not lacking, f"nothing was made that {', '.join(sorted(lacking))} would show: add it to tenancy.py"
    return found


def _values(route: Route, owner: Tenant) -> tuple[dict[str, str], dict[str, str]]:
    """What a route's parameters are for a thing of the owner's, and for one that nobody has."""
    name = owner.name if route.path == OF_THE_HOUSE else owner.things["project"]
    values = {**owner.things, "name": name}
    return values, {kind: _unknown(value) for kind, value in values.items()}


def _unknown(value: str) -> str:
    """An id of the same form and length that nobody has."""
    if value.isdecimal():
        return "9" * len(value)
    return re.sub(ID, "0" * 32, value) if re.search(ID, value) else "x" * len(value)


def _shown(owner: Tenant, by_id: list[Route]) -> dict[str, object]:
    """What the owner sees of its things."""
    shown: dict[str, object] = {}
    for route in by_id:
        if route.method == "GET":
            response = owner.api.http.get(address(route.path, _values(route, owner)[0]))
            assert response.status_code == 200, (
                f"{route}: the owner got {response.status_code}, so that nobody else's refusal shows anything"
            )
            shown[route.path] = response.text if "webhook" not in route.path and "events" not in route.path else 200
    for listed in ("/v1/keys", "/v1/projects", "/v1/budgets", "/v1/quotas"):
        data = answered(owner.api.http.get(listed))["data"]
        shown[listed] = [{name: one[name] for name in one if name != "last_used_at"} for one in data]
    return shown


def _attack(found: Found, known: list[Route], owner: Tenant, asking: Tenant, role: tuple[str, ...]) -> None:
    """All that one caller can try."""
    http, who = asking.callers[role], f"{asking.name}'s {'+'.join(role)}"
    for route in _by_id(known, owner):
        if (asking.name, route.path) != (HOUSE, OF_THE_HOUSE):
            values = _values(route, owner)
            answers = [_ask(http, route, one) for one in values]
            found.look(f"{route} by {who}", answers, [one[route.names[0]] for one in values])
    for route in known:
        if route.method == "GET" and not route.names and route.path not in OPEN:
            found.search(f"{route} by {who}", http.get(route.path), owner)
    for method, path, body, name, kind in REFERS:
        ids = owner.things[kind], _unknown(owner.things[kind])
        answers = [http.request(method, path, json={**body, name: one}) for one in ids]
        found.look(f"{method} {path} {name} by {who}", answers, ids)
    if role == SCOPES:
        _attack_queries(found, known, owner, http, who)


def _attack_queries(found: Found, known: list[Route], owner: Tenant, http: httpx2.Client, who: str) -> None:
    """Each id in each parameter of each list."""
    for route in known:
        if route.method != "GET" or route.names or route.path in OPEN:
            continue
        for query, kind in itertools.product(route.queries, owner.things):
            ids = owner.things[kind], _unknown(owner.things[kind])
            if kind != "refusal_id" and query != "tenant":  # a number is a page or a time; the house may name tenants
                answers = [http.get(route.path, params={query: one}) for one in ids]
                found.look(f"{route}?{query}={kind} by {who}", answers, ids)


def _ask(http: httpx2.Client, route: Route, values: dict[str, str]) -> httpx2.Response:
    """A request that would be right if the thing were the caller's."""
    body: dict[str, Any] = {}
    if route.takes_json:
        body = {"json": body_of(route.path, values)}
    return http.request(route.method, address(route.path, values), **body)


def _bare(text: str, name: str) -> str:
    """An answer without the id that was asked for, and without what differs each time."""
    return re.sub(rf"\b{re.escape(name)}\b|{ID}|\d{{9,}}(\.\d+)?", "", text)
