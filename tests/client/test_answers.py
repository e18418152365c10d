"""Errors say which kind they are: a failed job, an absent service, a refusal; and nothing is asked twice that must not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest

from orchestrator import errors
from orchestrator.client import AsyncRightsize, Rightsize
from tests.client.cutting import Cutter
from tests.serving import Api
from tests.stack import chat, until


def jobs(api: Api) -> int:
    return api.stack.count("SELECT count(*) FROM jobs")


@pytest.mark.parametrize(
    "text, status, state",
    [("[[fail:400]]", 400, "failed"), ("[[fail:500]]", 502, "failed"), ("[[sleep:30]]", 504, "expired")],
)
def test_a_failed_job_is_told_apart_from_an_absent_service(
    text: str, status: int, state: str, client: Rightsize
) -> None:
    with pytest.raises(errors.JobFailed) as failed:
        client.complete(chat(text, model="thinker"))
    error = failed.value
    assert not isinstance(error, (errors.Busy, errors.Refused))
    assert error.status == status
    job = client.job(error.job_id)
    assert (job["state"], job["error"]["code"]) == (state, error.code)
    assert job["error"]["message"] in error.message


def test_an_asynchronous_failure_is_the_same(api: Api) -> None:
    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            with pytest.raises(errors.JobFailed, match="job_"):
                await client.complete(chat("[[fail:400]]"))
            with pytest.raises(errors.UnknownModel) as unknown:
                await client.complete(chat("x", model="none"))
            assert unknown.value.param == "model"
            assert (await client.attempt(chat("[[fail:400]]")))[0] == 400

    asyncio.run(run())


def test_errors_of_the_service_are_errors_of_our_tree(api: Api, client: Rightsize) -> None:
    with pytest.raises(errors.NotFound, match="no job"):
        client.job(f"job_{'0' * 32}")
    with pytest.raises(errors.UnknownModel, match="Known: auto") as unknown:
        client.complete({**chat("Hi"), "model": "none"})
    assert unknown.value.param == "model"
    with pytest.raises(errors.InvalidRequest):
        client.complete({"messages": []})
    with pytest.raises(errors.TierUnavailable, match="over the bound"):
        client.complete(chat("Hi", rightsize={"max_cost_usd": "0"}))
    with Rightsize(api.url, "rs_wrong") as stranger, pytest.raises(errors.Unauthorized, match="keys create"):
        stranger.models()


def test_an_answer_lost_on_its_way_is_asked_for_again_under_its_key_and_charged_once(cutter: Cutter, api: Api) -> None:
    before = jobs(api)
    cutter.cut("POST /v1/chat/completions", times=2, answer_bytes=40)
    with Rightsize(cutter.url, api.key) as through:
        answer = through.complete(chat("Once"), key="lost-1")
    assert cutter.cuts == 2
    assert answer["choices"][0]["message"]["content"]
    assert jobs(api) == before + 1
    charges = "SELECT count(*) FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE t.kind = 'charge' AND j.id = (SELECT max(id) FROM jobs)"
    assert api.stack.count(charges) == 1


def test_an_answer_lost_on_its_way_without_a_key_is_not_asked_for_again(cutter: Cutter, api: Api) -> None:
    before = jobs(api)
    cutter.cut("POST /v1/chat/completions", times=1, answer_bytes=40)
    with Rightsize(cutter.url, api.key) as through, pytest.raises(errors.ServiceUnavailable):
        through.complete(chat("Once"))
    assert jobs(api) == before + 1


def test_another_request_under_the_same_key_is_a_conflict(client: Rightsize) -> None:
    first = client.complete(chat("One"), key="same-1")
    assert client.complete(chat("One"), key="same-1")["id"] == first["id"]
    with pytest.raises(errors.IdempotencyConflict):
        client.complete(chat("Two"), key="same-1")


def test_an_answer_may_take_longer_than_a_read_of_the_service(api: Api) -> None:
    with Rightsize(api.url, api.key, timeout_s=0.5) as client:
        assert client.complete(chat("[[sleep:1.5]] x", model="fast"))["rightsize"]["model"] == "fast"
        with pytest.raises(errors.ServiceUnavailable, match="no answer in time"):
            client.complete(chat("[[sleep:3]] x", model="fast"), timeout_s=0.5)
    until(lambda: api.stack.count("SELECT count(*) FROM jobs WHERE state < 10") == 0, 10, "who hung up is called off")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_a_service_that_is_not_there_is_named_with_a_remedy(url: str) -> None:
    with Rightsize(url, "rs_x", timeout_s=2) as client:
        with pytest.raises(errors.ServiceUnavailable, match="rightsize up"):
            client.complete(chat("x"))
        with pytest.raises(errors.ServiceUnavailable, match="rightsize up"):
            client.ready()


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x", "http://[", "http://127.0.0.1:99999"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.RightsizeError), Rightsize(url, "rs_x") as client:
        client.complete(chat("x"))


@pytest.mark.parametrize("key, words", [("", "is empty"), ("rs_x\n", "holds a blank"), ("rs_\u00e9", "holds a blank")])
def test_a_key_that_can_be_none_is_refused_and_not_shown(key: str, words: str) -> None:
    with pytest.raises(errors.Refused, match=words) as refused:
        Rightsize("http://127.0.0.1:9", key)
    assert not key or key not in str(refused.value)


# From here on: answers that no service of ours gives in order, from a server that gives what it is told to.


class Scripted:
    """Answers with (status, headers, body) one after the other, the last one for good; notes the idempotency keys."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers = list(answers)
        self.keys: list[str | None] = []
        self.url = ""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.keys.append(self.headers.get("Idempotency-Key"))
            status, headers, body = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


BAD_GATEWAY = (503, {}, b"<html>Bad gateway</html>")


def test_i7_a_create_is_sent_again_under_the_same_key(scripted: Scripted) -> None:
    scripted.answers = [BAD_GATEWAY, BAD_GATEWAY, (200, {}, b'{"id":"batch_1"}')]
    with Rightsize(scripted.url, "rs_x") as client:
        assert client.create_batch("file_1")["id"] == "batch_1"
    assert len(scripted.keys) == 3
    assert len(set(scripted.keys)) == 1
    assert scripted.keys[0]


def test_a_request_that_may_have_been_answered_is_not_sent_again(scripted: Scripted) -> None:
    scripted.answers = [BAD_GATEWAY]
    with Rightsize(scripted.url, "rs_x") as client, pytest.raises(errors.ServiceUnavailable):
        client.complete(chat("x"))
    assert len(scripted.keys) == 1


@pytest.mark.parametrize("key", ["order-\u00e9", "a\nb", " a"])
def test_a_key_that_no_header_carries_is_refused_before_anything_is_sent(key: str, scripted: Scripted) -> None:
    with Rightsize(scripted.url, "rsk_any") as client:
        for send in (client.submit_job, client.complete):
            with pytest.raises(errors.InvalidRequest, match="idempotency key"):
                send(chat("Hello"), key=key)
    assert not scripted.keys


@pytest.mark.parametrize(
    "status, kind",
    [(400, errors.Refused), (404, errors.NotFound), (500, errors.RightsizeError), (503, errors.ServiceUnavailable)],
)
def test_a_code_that_is_not_known_stays_on_the_exception(
    status: int, kind: type[errors.RightsizeError], scripted: Scripted
) -> None:
    body = orjson.dumps({"error": {"code": "of_tomorrow", "message": "Do this.", "param": "x"}})
    scripted.answers = [(status, {}, body)]
    with Rightsize(scripted.url, "rs_x") as client, pytest.raises(errors.RightsizeError) as raised:
        client.complete(chat("x"))
    error = raised.value
    assert (type(error), error.code, error.status, error.message) == (kind, "of_tomorrow", status, "Do this.")
    assert kind.code != "of_tomorrow"


def test_a_failed_job_is_not_asked_for_again_whatever_its_status(scripted: Scripted) -> None:
    body = orjson.dumps({"error": {"code": "engine_lost", "message": "Gone."}})
    scripted.answers = [(503, {"x-rightsize-job": "job_1"}, body)]
    with Rightsize(scripted.url, "rs_x") as client, pytest.raises(errors.JobFailed) as failed:
        client.complete(chat("x"), key="k")
    assert (failed.value.code, failed.value.job_id, len(scripted.keys)) == ("engine_lost", "job_1", 1)


def test_what_is_asked_for_later_is_waited_for(scripted: Scripted) -> None:
    body = orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "Slowly."}})
    scripted.answers = [(429, {"Retry-After": "1"}, body), (200, {}, b'{"id":"job_1"}')]
    told: list[str] = []
    with Rightsize(scripted.url, "rs_x", on_wait=told.append) as client:
        assert client.submit_job(chat("x"))["id"] == "job_1"
    assert len(scripted.keys) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}"])
def test_what_is_no_service_of_ours_is_said_to(body: bytes, scripted: Scripted) -> None:
    scripted.answers = [(200, {}, body)]
    with Rightsize(scripted.url, "rs_x", timeout_s=0.5) as client:
        with pytest.raises(errors.ServiceUnavailable, match="Is it a Rightsize service"):
            client.complete(chat("x"))
        assert client.ready()["status"] == "unavailable"
