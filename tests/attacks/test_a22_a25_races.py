"""Many at once: a budget for one lets one through, and a key that is used by fifty makes one thing. A22 and A25."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx2
import orjson
import pytest

from orchestrator.client import Rightsize
from orchestrator.flow import cancel
from tests.api.test_batches import create, ended, upload
from tests.serving import Api
from tests.stack import OWNER, Stack, chat, row, rows, until

AT_ONCE = 200
ONE = chat("[[sleep:1]] One of many.", model="fast", max_tokens=100)


@pytest.fixture(scope="module", autouse=True)
def _tenant(client: Rightsize) -> None:
    client.admin.create_tenant("racer")


@pytest.fixture
def racer(client: Rightsize, request: pytest.FixtureRequest) -> Iterator[str]:
    """A key of a new project of a tenant of its own."""
    name = f"p{abs(hash(request.node.name)) % 10**9}"
    client.admin.create_project(name, tenant="racer")
    made = client.admin.create_key(name, project=name, scopes=["submit", "read", "admin"], tenant="racer")
    yield made["key"]
    client.admin.revoke_key(made["id"], tenant="racer")


def at_once(
    api: Api, key: str, count: int, ask: Callable[[httpx2.Client, int], httpx2.Response]
) -> list[httpx2.Response]:
    """The answers to so many requests that are sent at the same moment, each on a connection that was open before."""
    ready = threading.Barrier(count)
    limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
    with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, limits=limits) as http:

        def one(number: int) -> httpx2.Response:
            http.get("/livez")
            ready.wait(30)
            return ask(http, number)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))


def limit_for(api: Api, key: str, jobs: int, body: dict[str, Any]) -> Decimal:
    """Set the budget of a key's project to what so many jobs can cost, and not a picodollar more."""
    headers = {"Authorization": f"Bearer {key}"}
    hold = Decimal(api.http.post("/v1/explain", json={"body": body}, headers=headers).json()["route"]["hold_usd"])
    scope, named = "project", api.http.get("/v1/keys", headers=headers).json()["data"][-1]["project"]
    for_jobs = {"scope": scope, "named": named, "period": "total", "limit_usd": f"{jobs * hold:f}"}
    assert api.http.put("/v1/budgets", json=for_jobs, headers=headers).status_code == 200
    return hold


def budget(api: Api, key: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    named = api.http.get("/v1/keys", headers=headers).json()["data"][-1]["project"]
    return next(one for one in api.http.get("/v1/budgets", headers=headers).json()["data"] if one["named"] == named)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
@pytest.mark.parametrize("run", [1, 2])
def test_a22_of_two_hundred_at_once_a_budget_for_one_lets_one_through(
    api: Api, racer: str, path: str, run: int
) -> None:
    limit_for(api, racer, 1, ONE)
    body = {"body": ONE} if path == "/v1/jobs" else ONE
    told = Counter(one.status_code for one in at_once(api, racer, AT_ONCE, lambda http, _: http.post(path, json=body)))
    accepted = told.pop(202 if path == "/v1/jobs" else 200, 0)
    assert (accepted, dict(told)) == (1, {402: AT_ONCE - 1})
    left = budget(api, racer)
    assert Decimal(left["held_usd"]) + Decimal(left["spent_usd"]) <= Decimal(left["limit_usd"])
    until(lambda: Decimal(budget(api, racer)["held_usd"]) == 0, 10, "nothing is held any more")
    assert Decimal(budget(api, racer)["spent_usd"]) > 0
    assert api.stack.doctor() == []


def test_a22_budgets_of_three_scopes_at_once_are_each_kept(api: Api, client: Rightsize, racer: str) -> None:
    hold = limit_for(api, racer, 7, ONE)
    key = api.http.get("/v1/keys", headers={"Authorization": f"Bearer {racer}"}).json()["data"][-1]["id"]
    client.admin.set_budget(f"{5 * hold:f}", scope="key", named=key, tenant="racer")
    client.admin.set_budget(f"{6 * hold + 1:f}", scope="tenant", period="day", tenant="racer")
    told = Counter(
        one.status_code for one in at_once(api, racer, 100, lambda http, _: http.post("/v1/jobs", json={"body": ONE}))
    )
    assert dict(told) == {202: 5, 402: 95}
    client.admin.set_budget(None, scope="tenant", period="day", tenant="racer")
    until(lambda: Decimal(budget(api, racer)["held_usd"]) == 0, 15)
    assert api.stack.doctor() == []


def test_a22_batches_that_open_at_once_hold_no_more_than_there_is(api: Api, racer: str) -> None:
    """Twelve batches of ten rows on a budget for a few: those that open run to their end, the others fail and hold nothing."""
    limit_for(api, racer, 40, ONE)
    headers = {"Authorization": f"Bearer {racer}"}
    lines = [row(str(n), {**ONE, "max_tokens": 20}) for n in range(10)]
    file = api.http.post(
        "/v1/files",
        headers=headers,
        data={"purpose": "batch"},
        files={"file": ("x", b"".join(orjson.dumps(one) + b"\n" for one in lines))},
    ).json()["id"]
    made = at_once(
        api,
        racer,
        12,
        lambda http, _: http.post("/v1/batches", json={"input_file_id": file, "endpoint": "/v1/chat/completions"}),
    )
    ids = [one.json()["id"] for one in made]
    ended_as = Counter(
        until(
            lambda i=i: (
                (b := api.http.get(f"/v1/batches/{i}", headers=headers).json())["status"] in ("completed", "failed")
                and b["status"]
            ),
            40,
        )
        for i in ids
    )
    assert ended_as["completed"] >= 1
    left = budget(api, racer)
    assert Decimal(left["spent_usd"]) <= Decimal(left["limit_usd"])
    assert Decimal(left["held_usd"]) == 0
    assert api.stack.doctor() == []


def test_a22_a_batch_cancelled_while_it_is_read_gives_nothing_back_that_it_never_held(stack: Stack) -> None:
    """It once did: each such batch raised its project's hard limit by what its rows would have cost."""
    stack.orchestrator(crash_at="read.between_chunks:sleep:3")
    batch = stack.submit(rows(6_000))
    until(lambda: stack.count("SELECT count(*) FROM jobs") == 2_000, 30, "a part of it is in")
    cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
    time.sleep(2 * stack.settings.recover_every_s)  # for the sweep, which finds nothing to do
    assert stack.wait(batch).status == "cancelled"
    assert {one.held_usd for one in stack.query("SELECT held_usd FROM budgets")} == {0}
    assert stack.count("SELECT count(*) FROM jobs") == 0
    stack.must_hold()


@pytest.mark.parametrize(
    "body",
    [
        {"limit_usd": "-1"}, {"limit_usd": "-0.000000000001"}, {"limit_usd": "1e309"}, {"limit_usd": "1e6"}, {"limit_usd": "NaN"}, {"limit_usd": "Infinity"},
        {"limit_usd": "0x10"}, {"limit_usd": "1,5"}, {"limit_usd": "1000000.000000000001"}, {"limit_usd": "9" * 32}, {"limit_usd": "0." + "0" * 12 + "1"}, {"limit_usd": ""},
        {"limit_usd": 5}, {"limit_usd": 0.1}, {"limit_usd": True}, {"limit_usd": ["1"]}, {"limit_usd": "١"}, {"limit_usd": " 1"}, {"limit_usd": "1_0"}, {},
    ],
    ids=str,
)  # fmt: skip
def test_a22_a_limit_that_is_no_sum_of_money_is_refused(api: Api, body: dict[str, Any]) -> None:
    refused = api.http.put("/v1/budgets", json={"scope": "project", "named": "default", **body})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit_usd")


@pytest.mark.parametrize(
    "name", ["requests_per_minute", "tokens_per_minute", "jobs_queued", "jobs_in_flight", "file_bytes"]
)
def test_a22_a_quota_that_is_no_count_is_refused(api: Api, name: str) -> None:
    for value in (-1, 0, 1.5, 2**63, 10**30, "5", True, 1e300):
        refused = api.http.put("/v1/quotas", json={"scope": "project", "named": "default", name: value})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name), value


@pytest.mark.parametrize("hint", ["-1", "1e9", "NaN", "1e-13", -0.5, 1e300, "1000000.01", True, [], {}])
def test_a22_a_cap_that_is_no_sum_of_money_is_refused(api: Api, hint: object) -> None:
    assert api.post("/v1/chat/completions", chat("x", rightsize={"max_cost_usd": hint})).status_code == 400
    file = upload(api, rows(1))
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "rightsize": {"max_cost_usd": hint}}
    assert api.post("/v1/batches", body).status_code == 400


def test_a22_the_most_that_a_request_may_ask_for_is_held_and_overflows_nothing(api: Api, racer: str) -> None:
    headers = {"Authorization": f"Bearer {racer}"}
    greedy = chat("x", model="thinker", max_tokens=1_000_000, n=16, rightsize={"samples": 16})
    told = api.http.post("/v1/explain", json={"body": greedy}, headers=headers).json()
    if told["route"] is not None:
        assert Decimal(told["route"]["hold_usd"]) > 1_000
    limit_for(api, racer, 1, chat("x"))
    refused = api.http.post("/v1/chat/completions", json=greedy, headers=headers)
    assert refused.status_code in (402, 422)
    made = api.http.post(
        "/v1/completions", json={"model": "fast", "prompt": ["x"] * 2_000, "max_tokens": 1_000_000}, headers=headers
    )
    assert made.status_code in (402, 422)


def test_a22_a_thousand_charges_add_up_to_the_last_digit_wherever_they_are_summed(api: Api, racer: str) -> None:
    lines = [row(str(n), chat("x" * (n % 50), model="fast")) for n in range(1_000)]
    batch = ended(api, create(api, lines))
    assert batch.request_counts.completed == 1_000
    output = api.openai.files.content(batch.output_file_id or "").text.splitlines()
    each = [Decimal(orjson.loads(line)["rightsize"]["cost_usd"]) for line in output]
    asked = f"batch={batch.id}"
    sums = {
        Decimal(batch.model_extra["rightsize"]["cost_usd"]), Decimal(api.http.get(f"/v1/cost?{asked}").json()["total"]["charge_usd"]),
        sum((Decimal(one["charge_usd"]) for one in api.http.get(f"/v1/cost?by=model&{asked}").json()["data"]), Decimal(0)),
        Decimal(api.http.get(f"/v1/usage?by=tier&{asked}").json()["total"]["charge_usd"]), sum(each, Decimal(0)),
    }  # fmt: skip
    assert len(sums) == 1, sums
    micro = Decimal("0.000001")
    assert sum((micro for _ in range(10**6)), Decimal(0)) == 1


# A25


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions", "/v1/responses", "/v1/batches", "stream"])
def test_a25_one_key_used_by_fifty_at_once_makes_one_thing(api: Api, path: str) -> None:
    asked = {
        "/v1/jobs": {"body": chat("Once.")}, "/v1/chat/completions": chat("[[sleep:0.5]] Once."), "/v1/responses": {"model": "auto", "input": "Once."},
        "/v1/batches": {"input_file_id": upload(api, rows(1)), "endpoint": "/v1/chat/completions"}, "stream": chat("[[sleep:0.5]] Once.", stream=True),
    }[path]  # fmt: skip
    where = "/v1/chat/completions" if path == "stream" else path
    table = "batches" if path == "/v1/batches" else "jobs"
    before = api.stack.count(f"SELECT count(*) FROM {table}")
    headers = {"Idempotency-Key": f"fifty-{path}"}
    told = at_once(api, api.key, 50, lambda http, _: http.post(where, json=asked, headers=headers))
    assert {one.status_code for one in told} == {202 if path == "/v1/jobs" else 200}
    names = {one.headers.get("x-rightsize-job") or one.json()["id"] for one in told}
    assert len(names) == 1
    assert api.stack.count(f"SELECT count(*) FROM {table}") == before + 1
    assert api.stack.doctor() == []


def test_a25_fifty_different_requests_with_one_key_at_once_are_one_thing_and_conflicts(api: Api) -> None:
    before = api.stack.count("SELECT count(*) FROM jobs")
    headers = {"Idempotency-Key": "different"}
    told = at_once(
        api, api.key, 50, lambda http, n: http.post("/v1/jobs", json={"body": chat(f"Number {n}.")}, headers=headers)
    )
    assert Counter(one.status_code for one in told) == {202: 1, 409: 49}
    assert {one.json()["error"]["code"] for one in told if one.status_code == 409} == {"idempotency_conflict"}
    assert api.stack.count("SELECT count(*) FROM jobs") == before + 1


def test_a25_a_key_is_one_for_all_routes_and_no_route_answers_with_another_ones_thing(api: Api) -> None:
    headers = {"Idempotency-Key": "everywhere"}
    asked = {
        "/v1/jobs": {"body": chat("Once.")}, "/v1/completions": {"model": "auto", "prompt": "Once."}, "/v1/responses": {"model": "auto", "input": "Once."},
        "/v1/embeddings": {"model": "fast", "input": "Once."}, "/v1/batches": {"input_file_id": upload(api, rows(1)), "endpoint": "/v1/chat/completions"},
    }  # fmt: skip
    told = [api.post(path, body, headers=headers).status_code for path, body in asked.items()]
    assert told == [202, 409, 409, 409, 409]


def test_a25_a_retry_that_is_sent_again_with_its_key_makes_one_batch(api: Api) -> None:
    """It once was a conflict with itself: the rows were written to a new file each time."""
    done = ended(api, create(api, [row("a", chat("[[fail:400]]"))]))
    where, headers = f"/v1/batches/{done.id}/retry", {"Idempotency-Key": "again"}
    told = at_once(api, api.key, 8, lambda http, _: http.post(where, json={"tier": "llm"}, headers=headers))
    assert {one.status_code for one in told} == {200}
    (made,) = {one.json()["id"] for one in told}
    assert api.post(where, {"tier": "llm"}, headers=headers).json()["id"] == made
    assert api.post(where, {"tier": "rlm"}, headers=headers).status_code == 409
    ended(api, made)
    again = [one for one in api.http.get("/v1/files").json()["data"] if one["filename"] == f"{done.id}_again.jsonl"]
    assert len(again) == 1, "nothing is left of the other sendings"
    assert api.post(where, {"tier": "llm"}).json()["id"] != made


@pytest.mark.parametrize(
    "key, taken",
    [("x" * 255, True), ("x" * 256, False), ("x" * 60_000, False), ("", False), ("a b", False), ("~!@#$%^&*()", True), ("celery:1", True), ("a,b", True), ("0", True)],
    ids=range(9),
)  # fmt: skip
def test_a25_a_key_has_1_to_255_printable_characters(api: Api, key: str, taken: bool) -> None:
    for path, body in (
        ("/v1/jobs", {"body": chat("x")}),
        ("/v1/chat/completions", chat("x")),
        ("/v1/responses", {"model": "auto", "input": "x"}),
    ):
        told = api.post(
            path,
            body,
            headers={
                "Idempotency-Key": f"{key}"
                if not taken
                else key[: -len(path)] + path
                if len(key) == 255
                else key + path
            },
        )
        assert (told.status_code < 300) == taken, (path, told.text)
        assert taken or told.json()["error"]["param"] == "Idempotency-Key"


def test_a25_a_key_whose_request_was_refused_is_free_for_the_next(api: Api, racer: str) -> None:
    headers = {"Authorization": f"Bearer {racer}", "Idempotency-Key": "refused-first"}
    hold = limit_for(api, racer, 1, ONE)
    too_much = {**ONE, "max_tokens": 100_000}
    assert hold > 0
    assert api.http.post("/v1/jobs", json={"body": too_much}, headers=headers).status_code == 402
    assert api.http.post("/v1/jobs", json={"body": ONE}, headers=headers).status_code == 202
