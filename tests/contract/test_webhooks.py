"""`client.webhooks`: endpoints managed, events verified and read, by the official client."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai.types import webhooks

from orchestrator.webhooks.events import OF_BATCH, EventType
from tests.contract.sdk import Sdk
from tests.contract.test_batches import create, ended
from tests.serving import Api
from tests.stack import chat, row, rows, until

CLASSES = {
    "batch.completed": webhooks.BatchCompletedWebhookEvent,
    "batch.failed": webhooks.BatchFailedWebhookEvent,
    "batch.expired": webhooks.BatchExpiredWebhookEvent,
    "batch.cancelled": webhooks.BatchCancelledWebhookEvent,
}


@dataclass
class Receiver:
    """A real HTTP server on loopback that keeps what it is told."""

    url: str = ""
    status: int = 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.got.append((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
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
            server.shutdown()
            thread.join()


@pytest.fixture
def endpoint(sdk: Sdk, receiver: Receiver) -> Iterator[webhooks.WebhookEndpointWithSecret]:
    made = sdk(sdk.client.webhooks.create(name="mine", url=receiver.url, event_types=[str(kind) for kind in EventType]))
    yield made
    sdk(sdk.client.webhooks.delete(made.id))


def test_an_endpoint_is_made_shown_changed_listed_and_deleted(sdk: Sdk, receiver: Receiver) -> None:
    calls = sdk.client.webhooks
    made = sdk(calls.create(name="first", url=receiver.url, event_types=["batch.completed"]))
    assert (made.object, made.name, made.url, made.event_types) == (
        "webhook_endpoint", "first", receiver.url, ["batch.completed"],
    )  # fmt: skip
    assert made.signing_secret.startswith("whsec_")
    shown = sdk(calls.retrieve(made.id))
    assert (shown.id, shown.created_at, "signing_secret" in (shown.model_extra or {})) == (
        made.id,
        made.created_at,
        False,
    )
    assert shown.signing_secret_hint
    assert made.signing_secret not in shown.signing_secret_hint
    changed = sdk(calls.update(made.id, name="second", event_types=["batch.failed", "batch.expired"]))
    assert (changed.name, changed.url, changed.event_types) == (
        "second",
        receiver.url,
        ["batch.failed", "batch.expired"],
    )
    more = [sdk(calls.create(name=str(n), url=receiver.url, event_types=["batch.failed"])).id for n in range(3)]
    assert [one.id for one in sdk.every(calls.list(limit=2))] == [*more[::-1], made.id]
    for name in (*more, made.id):
        deleted = sdk(calls.delete(name))
        assert (deleted.id, deleted.object, deleted.deleted) == (name, "webhook_endpoint.deleted", True)
    with pytest.raises(openai.NotFoundError):
        sdk(calls.retrieve(made.id))


def test_event_types_are_listed(sdk: Sdk) -> None:
    assert sdk(sdk.client.webhooks.event_types.list()).data == [str(kind) for kind in EventType]
    with pytest.raises(openai.BadRequestError, match=r"batch\.completed"):
        sdk(sdk.client.webhooks.create(name="x", url="https://example.com/", event_types=["video.completed"]))


@pytest.mark.parametrize("kind", list(EventType))
def test_every_event_is_verified_and_read_by_its_type(
    sdk: Sdk, receiver: Receiver, endpoint: webhooks.WebhookEndpointWithSecret, kind: EventType
) -> None:
    tested = sdk(sdk.client.webhooks.test(endpoint.id, event_type=kind))
    assert (tested.object, tested.event_type, tested.webhook_endpoint_id) == (
        "webhook_endpoint.test", kind, endpoint.id,
    )  # fmt: skip
    assert (tested.status_code, tested.success) == (200, True)
    headers, body = receiver.got[-1]
    event = sdk.client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
    assert (event.type, event.object, event.id[:4]) == (kind, "event", "evt_")
    # Types that the client does not know come back as some class of its union: only `type` says what they are.
    assert kind.startswith("rightsize.") or isinstance(event, CLASSES[kind])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.client.webhooks.unwrap(body + b" ", headers, secret=endpoint.signing_secret)


def test_a_receiver_that_refuses_a_test_is_told_by_its_status(
    sdk: Sdk, receiver: Receiver, endpoint: webhooks.WebhookEndpointWithSecret
) -> None:
    receiver.status = 418
    tested = sdk(sdk.client.webhooks.test(endpoint.id, event_type="batch.completed"))
    assert (tested.status_code, tested.success) == (418, True)  # it was sent: `success` says no more, as at OpenAI


def test_a_test_that_reaches_nobody_fails_at_once_and_is_not_sent_again(sdk: Sdk) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{held.getsockname()[1]}/"
        made = sdk(sdk.client.webhooks.create(name="x", url=url, event_types=["batch.failed"]))
        with sdk.other(max_retries=2) as patient, pytest.raises(openai.InternalServerError) as caught:
            sdk(patient.webhooks.test(made.id, event_type="batch.failed"))
    assert (caught.value.status_code, caught.value.code, sdk.statuses) == (503, "service_unavailable", [503])
    sdk(sdk.client.webhooks.delete(made.id))


def test_a_secret_is_rotated_and_both_sign_for_a_day(
    sdk: Sdk, receiver: Receiver, endpoint: webhooks.WebhookEndpointWithSecret
) -> None:
    rotated = sdk(sdk.client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True))
    assert rotated.signing_secret != endpoint.signing_secret
    created = create(sdk, rows(1))
    ended(sdk, created.id)
    headers, body = until(lambda: _told(receiver, b"batch.completed"), 20)
    for secret in (rotated.signing_secret, endpoint.signing_secret):
        event = sdk.client.webhooks.unwrap(body, headers, secret=secret)
        assert (event.type, event.data.id) == ("batch.completed", created.id)
    alone = sdk(sdk.client.webhooks.rotate_secret(endpoint.id))
    assert alone.signing_secret not in (rotated.signing_secret, endpoint.signing_secret)


def test_every_end_of_a_batch_is_told(
    sdk: Sdk, receiver: Receiver, endpoint: webhooks.WebhookEndpointWithSecret
) -> None:
    slow = [row(str(number), chat("[[sleep:60]] x")) for number in range(40)]
    made = {
        "batch.completed": create(sdk, rows(1)).id,
        "batch.failed": create(sdk, [{"custom_id": "x"}]).id,
        "batch.expired": create(sdk, slow, window="2s").id,
        "batch.cancelled": create(sdk, slow).id,
    }
    assert set(made) == set(OF_BATCH.values())
    sdk(sdk.client.batches.cancel(made["batch.cancelled"]))
    for kind, batch_id in made.items():
        headers, body = until(lambda kind=kind: _told(receiver, kind.encode()), 40, kind)
        event: Any = sdk.client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
        assert isinstance(event, CLASSES[kind])
        assert (event.type, event.data.id) == (kind, batch_id)


def test_the_client_with_a_secret_of_its_own_needs_none_at_each_call(
    api: Api, sdk: Sdk, receiver: Receiver, endpoint: webhooks.WebhookEndpointWithSecret
) -> None:
    sdk(sdk.client.webhooks.test(endpoint.id, event_type="batch.failed"))
    headers, body = receiver.got[-1]
    with openai.OpenAI(api_key=api.key, base_url=api.url, webhook_secret=endpoint.signing_secret) as client:
        client.webhooks.verify_signature(body, headers)
        assert client.webhooks.unwrap(body, headers).type == "batch.failed"


def _told(receiver: Receiver, kind: bytes) -> tuple[dict[str, str], bytes] | None:
    return next((one for one in receiver.got if b'"type":"' + kind + b'"' in one[1]), None)
