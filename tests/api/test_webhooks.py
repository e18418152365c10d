"""Webhooks through the official client: managed, signed, sent until taken, dead, replayed, never to a private address."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import openai
import pytest

from orchestrator.settings import Settings
from tests.api.test_batches import create, ended
from tests.serving import Api
from tests.stack import rows, until


@dataclass
class Receiver:
    """A real HTTP server on loopback that keeps what it is told, and answers as it is told to."""

    status: int = 200
    takes: threading.Event = field(default_factory=threading.Event)
    """Set unless it hangs."""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return Settings.load(
        {
            **{name: getattr(module_settings, name) for name in module_settings.model_fields_set},
            "webhook_networks": "127.0.0.0/8",
        }
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()
    kept.takes.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.got.append((dict(self.headers.items()), body))
            kept.takes.wait(30)
            self.send_response(kept.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        kept.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        try:
            yield kept
        finally:
            kept.takes.set()
            server.shutdown()
            thread.join()


def test_the_official_client_manages_endpoints_and_verifies_what_they_are_told(api: Api, receiver: Receiver) -> None:
    client = api.openai
    made = client.webhooks.endpoints.create(name="mine", url=receiver.url, event_types=["batch.completed", "batch.cancelled"]) \
        if hasattr(client.webhooks, "endpoints") else None  # fmt: skip
    if made is None:
        made_ = api.post(
            "/v1/webhook_endpoints", {"name": "mine", "url": receiver.url, "event_types": ["batch.completed"]}
        ).json()
        endpoint, secret = made_["id"], made_["signing_secret"]
    else:
        endpoint, secret = made.id, made.signing_secret
    batch = ended(api, create(api, rows(3)))
    headers, body = until(lambda: receiver.got and receiver.got[-1], 15, "the event comes")
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body + b" ", headers, secret=secret)
    shown = api.http.get(f"/v1/webhook_endpoints/{endpoint}").json()
    assert "signing_secret" not in shown
    assert secret not in str(shown)
    delivered = until(lambda: (d := api.http.get(f"/v1/webhook_deliveries?endpoint={endpoint}").json()["data"]) and d[0]["state"] == "delivered" and d, 5)  # fmt: skip
    assert delivered[0]["attempts"] == 1
    api.http.delete(f"/v1/webhook_endpoints/{endpoint}")
    assert api.http.get(f"/v1/webhook_endpoints/{endpoint}").status_code == 404


def test_a24_what_is_not_taken_is_sent_again_with_a_fresh_stamp_and_the_same_id_and_replayed_by_hand(
    api: Api, receiver: Receiver
) -> None:
    receiver.status = 503
    made = api.post(
        "/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": ["batch.completed"]}
    ).json()
    ended(api, create(api, rows(1)))
    until(lambda: receiver.got, 15)
    delivery = until(lambda: (d := api.http.get(f"/v1/webhook_deliveries?endpoint={made['id']}").json()["data"]) and d[0]["code"] and d[0], 5)  # fmt: skip
    assert (delivery["state"], delivery["code"]) == ("pending", "status_503")
    receiver.status = 200
    api.http.post(f"/v1/webhook_deliveries/{delivery['id']}/replay")
    until(lambda: len(receiver.got) == 2, 10)
    first, second = (headers for headers, _ in receiver.got)
    assert first["webhook-id"] == second["webhook-id"] == delivery["id"]
    assert receiver.got[0][1] == receiver.got[1][1]
    api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_a24_a_receiver_that_is_gone_is_told_no_more_and_its_event_is_dead(api: Api, receiver: Receiver) -> None:
    receiver.status = 410
    made = api.post(
        "/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": ["batch.completed"]}
    ).json()
    ended(api, create(api, rows(1)))
    dead = until(lambda: api.http.get(f"/v1/webhook_deliveries?dead=true&endpoint={made['id']}").json()["data"], 15)
    assert dead[0]["state"] == "dead"
    assert api.http.get(f"/v1/webhook_endpoints/{made['id']}").json()["rightsize"]["disabled_reason"]
    api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_a_secret_is_rotated_and_a_test_event_is_sent_at_once(api: Api, receiver: Receiver) -> None:
    made = api.post("/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": ["batch.failed"]}).json()
    rotated = api.post(
        f"/v1/webhook_endpoints/{made['id']}/rotate_secret", {"keep_old_secret_active_for_24_hours": True}
    ).json()
    assert rotated["signing_secret"] != made["signing_secret"]
    sent = api.post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": "batch.failed"}).json()
    assert (sent["success"], sent["status_code"]) == (True, 200)
    headers, body = receiver.got[-1]
    assert api.openai.webhooks.unwrap(body, headers, secret=rotated["signing_secret"]).type == "batch.failed"
    api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_a_budget_is_told_of_at_its_steps_and_a_job_when_it_ends(api: Api, receiver: Receiver) -> None:
    kinds = ["rightsize.budget.alert", "rightsize.job.ended"]
    made = api.post("/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": kinds}).json()
    today = api.client.admin.set_budget("1000", scope="project", named="default", period="day")
    spent = next(Decimal(one["spent_usd"]) for one in today if one["period"] == "day")
    api.client.admin.set_budget(f"{spent + Decimal('0.004'):f}", scope="project", named="default", period="day")
    try:
        job = api.client.submit_job({"model": "fast", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10})
        until(lambda: b"rightsize.job.ended" in b"".join(body for _, body in receiver.got), 15)
        assert job["id"].encode() in b"".join(body for _, body in receiver.got)
        for _ in range(6):
            api.post(
                "/v1/chat/completions",
                {"model": "fast", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10},
            )
        until(lambda: b'"percent":100' in b"".join(body for _, body in receiver.got), 15)
    finally:
        api.client.admin.set_budget(None, scope="project", named="default", period="day")
        api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_tests_of_a_receiver_that_hangs_are_bounded_and_uploads_go_on(api: Api, receiver: Receiver) -> None:
    receiver.takes.clear()
    made = api.post("/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": ["batch.failed"]}).json()
    codes: list[int] = []

    def try_out() -> None:
        response = api.post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": "batch.failed"})
        codes.append(response.status_code)

    threads = [threading.Thread(target=try_out) for _ in range(10)]
    for thread in threads:
        thread.start()
    until(lambda: len(codes) == 8, 5, "all but two are refused at once")
    started = time.monotonic()
    api.openai.files.create(file=("rows.jsonl", b"{}"), purpose="batch")
    assert time.monotonic() - started < 3
    assert codes == [429] * 8
    receiver.takes.set()
    for thread in threads:
        thread.join(20)
    assert codes[8:] == [200, 200]
    api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_tests_count_to_the_quota_of_requests(api: Api, receiver: Receiver) -> None:
    made = api.post("/v1/webhook_endpoints", {"name": "x", "url": receiver.url, "event_types": ["batch.failed"]}).json()
    limit = {"scope": "project", "named": "default"}
    assert api.http.put("/v1/quotas", json=limit | {"requests_per_minute": 1}).status_code == 200
    try:
        until(
            lambda: (
                api.post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": "batch.failed"}).status_code == 429
            ),
            15,
        )
    finally:
        api.http.put("/v1/quotas", json=limit)
        api.http.delete(f"/v1/webhook_endpoints/{made['id']}")


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/", "file:///etc/passwd", "https://x:y@example.com/",
     "http://127.0.0.1:6379/", "gopher://x", "https://0x0a000001/", "x" * 3000],
    ids=range(9),
)  # fmt: skip
def test_a15_an_address_that_may_not_be_is_refused_when_it_is_given(api: Api, url: str) -> None:
    response = api.post("/v1/webhook_endpoints", {"name": "x", "url": url, "event_types": ["batch.failed"]})
    if response.status_code == 200:  # only where a name must be resolved, which is done at every send
        sent = api.post(f"/v1/webhook_endpoints/{response.json()['id']}/test", {"event_type": "batch.failed"})
        api.http.delete(f"/v1/webhook_endpoints/{response.json()['id']}")
        assert (sent.status_code, "address_refused" in sent.json()["error"]["message"]) == (503, True)
    else:
        assert response.status_code == 400
