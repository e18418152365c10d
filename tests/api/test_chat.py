"""Interactive requests: answered while the caller waits, durable at both ends."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from decimal import Decimal

import openai
import orjson
import pytest

from orchestrator.contracts import REPLIES
from tests.serving import Api
from tests.stack import chat, until


def test_the_official_client_gets_an_answer_with_its_route_and_price(api: Api) -> None:
    answer = api.openai.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Where is my order?"}]
    )
    assert answer.model == "fast"
    assert answer.choices[0].message.content
    ours = answer.model_extra["rightsize"]
    assert (ours["tier"], ours["model"], ours["rule"], ours["attempts"], ours["simulated"]) == (
        "llm",
        "fast",
        "default",
        1,
        True,
    )
    assert ours["reasons"]
    assert Decimal(ours["cost_usd"]) > 0


def test_hints_and_explicit_tiers_choose_the_model(api: Api) -> None:
    grave = api.post("/v1/chat/completions", chat("Merge?", rightsize={"stakes": "high"})).json()
    assert (grave["rightsize"]["tier"], grave["rightsize"]["rule"]) == ("rlm", "high_stakes")
    named = api.post("/v1/chat/completions", {**chat("Hi"), "model": "mllm"}).json()
    assert (named["rightsize"]["tier"], named["rightsize"]["rule"]) == ("mllm", "explicit_tier")


def test_completions_and_embeddings_are_served_the_same_way(api: Api) -> None:
    assert api.openai.completions.create(model="fast", prompt="Once").choices[0].text
    texts = ["a", "b"]
    as_numbers = api.openai.embeddings.create(model="fast", input=texts, encoding_format="float").data
    as_bytes = api.openai.embeddings.create(model="fast", input=texts).data  # what the client asks for by itself
    assert as_bytes[1].embedding == pytest.approx(as_numbers[1].embedding)
    raw = api.post("/v1/embeddings", {"model": "fast", "input": texts, "encoding_format": "base64"}).json()
    assert isinstance(raw["data"][0]["embedding"], str)
    refused = api.post("/v1/embeddings", {"model": "fast", "input": texts, "encoding_format": "hex"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "encoding_format")


def test_texts_are_classified_and_pairs_scored_in_the_form_of_vllm(api: Api) -> None:
    classes = api.post("/v1/classify", {"model": "fast", "input": ["a", "b"]}).json()
    assert [(row["index"], row["num_classes"]) for row in classes["data"]] == [(0, 2), (1, 2)]
    scores = api.post("/v1/score", {"model": "fast", "queries": "a", "documents": ["b", "c"]}).json()
    assert [set(row) for row in scores["data"]] == [{"index", "object", "score"}] * 2
    for body in (classes, scores):
        assert body["rightsize"]["simulated"]
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    refused = api.post("/v1/score", {"model": "fast", "queries": ["a", "b"], "documents": ["c"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "queries")


def test_an_answer_names_the_job_that_holds_it(api: Api) -> None:
    response = api.post("/v1/chat/completions", chat("Hello"))
    job = api.http.get(f"/v1/jobs/{response.headers['x-rightsize-job']}").json()
    assert (job["state"], job["cost_usd"]) == ("succeeded", response.json()["rightsize"]["cost_usd"])
    assert job["result"]["id"] == response.json()["id"]


@pytest.mark.parametrize(
    "kind,status,code",
    [
        ("400", 400, "bad_request"),
        ("500", 502, "server_error"),
        ("429", 503, "rate_limited"),
        ("timeout", 504, "timeout"),
    ],
)
def test_f26_a_failed_job_is_an_error_in_openais_form(api: Api, kind: str, status: int, code: str) -> None:
    response = api.post("/v1/chat/completions", chat(f"[[fail:{kind}]]", model="fast"))
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert response.headers["x-should-retry"] == "false"
    assert api.http.get(f"/v1/jobs/{response.headers['x-rightsize-job']}").json()["state"] == "failed"


def test_f26_a_fault_that_passes_is_retried_before_the_caller_hears_of_it(api: Api) -> None:
    answer = api.post("/v1/chat/completions", chat("[[fail:502:1]] Hello"))
    assert answer.status_code == 200
    assert answer.json()["rightsize"]["attempts"] == 2


def test_a_request_that_takes_too_long_is_cancelled_and_says_so(api: Api) -> None:
    began = time.monotonic()
    response = api.post("/v1/chat/completions", chat("[[sleep:30]]"))
    assert (response.status_code, response.json()["error"]["type"]) == (504, "server_error")
    assert 4.5 < time.monotonic() - began < 25
    name = response.headers["x-rightsize-job"]
    job = until(lambda: (j := api.http.get(f"/v1/jobs/{name}").json())["state"] in ("expired", "cancelled") and j)
    assert (job["charges"], job["cost_usd"]) == ([], "0")


def test_f29_a_client_that_hangs_up_cancels_its_job(api: Api) -> None:
    marker = "[[sleep:4]] hang up"
    body = orjson.dumps(chat(marker))
    host, port = api.url.removeprefix("http://").split(":")
    before = api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")
    with socket.create_connection((host, int(port))) as link:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        link.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: api.stack.count("SELECT count(*) FROM jobs WHERE id > :id", id=before), 5)
    until(lambda: api.stack.count("SELECT count(*) FROM jobs WHERE id > :id AND state = 12", id=before), 3, "cancelled")
    assert api.stack.doctor() == []


def test_the_same_idempotency_key_is_answered_once(api: Api) -> None:
    first, second = (
        api.post("/v1/chat/completions", chat("Once"), headers={"Idempotency-Key": "chat-1"}) for _ in range(2)
    )
    assert first.headers["x-rightsize-job"] == second.headers["x-rightsize-job"]
    assert first.json() == second.json()
    other = api.post("/v1/chat/completions", chat("Twice"), headers={"Idempotency-Key": "chat-1"})
    assert other.status_code == 409


def test_fifty_callers_at_once_each_get_their_own_answer(api: Api) -> None:
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = api.post("/v1/chat/completions", chat(f"[[sleep:0.2]] {number}")).headers["x-rightsize-job"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(found.values())) == 50
    assert api.stack.doctor() == []


def test_f9_an_answer_that_redis_lost_is_read_from_the_row(api: Api) -> None:
    results: list[int] = []
    caller = threading.Thread(
        target=lambda: results.append(api.post("/v1/chat/completions", chat("[[sleep:0.5]] x")).status_code)
    )
    caller.start()
    stop = time.monotonic() + 3
    while caller.is_alive() and time.monotonic() < stop:
        for key in api.stack.broker.redis.scan_iter(f"{REPLIES}*"):
            api.stack.broker.redis.delete(key)
        time.sleep(0.002)
    caller.join(10)
    assert results == [200]


def test_the_added_latency_is_small(api: Api) -> None:
    api.post("/v1/chat/completions", chat("warm"))
    took = []
    for number in range(30):
        began = time.monotonic()
        assert api.post("/v1/chat/completions", chat(str(number))).status_code == 200
        took.append(time.monotonic() - began)
    # `make bench` holds the target of 15 ms; here only that nothing waits for a poll.
    assert statistics.median(took) < 1


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "x"},
        {**chat("x"), "stream": "yes"},
        {**chat("x"), "stream_options": {"include_usage": True}},
        {**chat("x"), "n": 10**6},
        {**chat("x"), "best_of": 2},
        {**chat("x"), "tenant_id": 2},
        {**chat("x"), "model": "../../etc"},
        {**chat("x"), "model": "no-such-model"},
        {**chat("x"), "model": 7},
        {**chat("x"), "rightsize": {"tier": "vision"}},
        {**chat("x"), "rightsize": {"max_cost_usd": "0"}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}}]}
            ]
        },
    ],
    ids=range(13),
)
def test_a16_a_request_that_is_wrong_is_refused_with_a_remedy(api: Api, body: dict[str, object]) -> None:
    response = api.post("/v1/chat/completions", body)
    assert 400 <= response.status_code < 500
    assert len(response.json()["error"]["message"]) > 20


def test_an_unknown_model_is_the_official_clients_not_found(api: Api) -> None:
    with pytest.raises(openai.NotFoundError, match="Known: auto, slm, llm"):
        api.openai.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])
