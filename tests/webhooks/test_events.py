"""What events say, as the official client reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import openai
import orjson
import pytest
import standardwebhooks
from openai.types import webhooks as theirs

from orchestrator.contracts import BatchStatus, JobState
from orchestrator.errors import Broken
from orchestrator.lifecycle import BATCH_NEXT
from orchestrator.webhooks import events
from orchestrator.webhooks.events import BudgetAlert, EventType
from orchestrator.webhooks.sign import masked, new_secret, signed_headers

SECRET = new_secret()
TYPED = {
    BatchStatus.COMPLETED: theirs.BatchCompletedWebhookEvent,
    BatchStatus.FAILED: theirs.BatchFailedWebhookEvent,
    BatchStatus.EXPIRED: theirs.BatchExpiredWebhookEvent,
    BatchStatus.CANCELLED: theirs.BatchCancelledWebhookEvent,
}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1") as made:
        yield made


@pytest.mark.parametrize("status", [status for status, after in BATCH_NEXT.items() if not after])
def test_every_end_of_a_batch_is_an_event_that_the_official_client_knows(
    status: BatchStatus, client: openai.OpenAI
) -> None:
    payload = events.batch_ended("evt_1", 1_700_000_000, "batch_1", status)
    assert orjson.loads(payload) == {
        "id": "evt_1",
        "object": "event",
        "type": f"batch.{status}",
        "created_at": 1_700_000_000,
        "data": {"id": "batch_1"},
    }
    read = client.webhooks.unwrap(payload, signed(payload), secret=SECRET)
    assert type(read) is TYPED[status]
    assert (read.id, read.object, read.created_at, read.data.id) == ("evt_1", "event", 1_700_000_000, "batch_1")  # type: ignore[union-attr]
    TYPED[status].model_validate_json(payload, strict=True)


@pytest.mark.parametrize("kind", [EventType.BUDGET_ALERT, EventType.JOB_ENDED, EventType.WEBHOOK_TEST])
def test_the_official_client_verifies_our_own_events_and_keeps_all_they_say(
    kind: EventType, client: openai.OpenAI
) -> None:
    payload = events.sample(kind, "evt_2", 1_700_000_000, "wh_1")
    client.webhooks.verify_signature(payload, signed(payload), secret=SECRET)
    read = client.webhooks.unwrap(payload, signed(payload), secret=SECRET)
    assert read.type == kind  # type: ignore[comparison-overlap]
    assert read.to_dict() == orjson.loads(payload)


def test_a_budget_alert_gives_money_as_text_without_loss() -> None:
    alert = BudgetAlert(
        "project", "proj_1", "month", 80, Decimal("100.000000"), Decimal("79.123456789"), Decimal("1E-9")
    )
    data = orjson.loads(events.budget_alert("evt_3", 1, alert))["data"]
    assert data == {
        "scope": "project", "scope_id": "proj_1", "period": "month", "percent": 80,
        "limit_usd": "100.000000", "spent_usd": "79.123456789", "held_usd": "0.000000001",
    }  # fmt: skip


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED])
def test_a_job_ended_names_its_state_as_the_api_does(state: JobState) -> None:
    assert orjson.loads(events.job_ended("evt_4", 1, "job_1", state))["data"] == {"id": "job_1", "state": state.label}


@pytest.mark.parametrize("kind", list(EventType))
def test_every_type_has_a_sample(kind: EventType) -> None:
    assert orjson.loads(events.sample(kind, "evt_5", 1, "wh_1"))["type"] == kind


def test_secrets_are_of_the_standard_and_never_twice_the_same() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith("whsec_") and len(secret) == 38 and "=" not in secret for secret in made)
    assert masked(SECRET) == f"whsec_...{SECRET[-4:]}"


def test_a24_while_a_secret_is_rotated_both_verify_and_a_third_does_not(client: openai.OpenAI) -> None:
    old, payload = new_secret(), events.sample(EventType.BATCH_COMPLETED, "evt_6", 1, "wh_1")
    headers = signed_headers([SECRET, old], "evt_6", payload, datetime.now(UTC))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, old):
        client.webhooks.unwrap(payload, headers, secret=secret)
        standardwebhooks.Webhook(secret).verify(payload, headers)
    for check in (lambda one: client.webhooks.unwrap(payload, headers, secret=one),
                  lambda one: standardwebhooks.Webhook(one).verify(payload, headers)):  # fmt: skip
        with pytest.raises((openai.InvalidWebhookSignatureError, standardwebhooks.WebhookVerificationError)):
            check(new_secret())


def test_a24_what_was_changed_or_replayed_later_is_refused_by_the_official_client(client: openai.OpenAI) -> None:
    payload = events.sample(EventType.BATCH_COMPLETED, "evt_7", 1, "wh_1")
    now = signed(payload)
    late = signed_headers([SECRET], "evt_1", payload, datetime.now(UTC) - timedelta(minutes=6))
    client.webhooks.verify_signature(payload, now, secret=SECRET)
    for changed, headers in (
        (payload + b" ", now),
        (payload, {**now, "webhook-id": "evt_8"}),
        (payload, {**now, "webhook-timestamp": str(int(now["webhook-timestamp"]) - 1)}),
        (payload, late),
    ):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(changed, headers, secret=SECRET)


def test_the_moment_of_a_signature_is_the_same_in_every_time_zone(
    monkeypatch: pytest.MonkeyPatch, client: openai.OpenAI
) -> None:
    payload, moment = events.sample(EventType.WEBHOOK_TEST, "evt_8", 1, "wh_1"), datetime.now(UTC)
    expected = signed_headers([SECRET], "evt_8", payload, moment)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert signed_headers([SECRET], "evt_8", payload, moment.astimezone()) == expected
    finally:
        monkeypatch.undo()
        time.tzset()
    client.webhooks.verify_signature(payload, expected, secret=SECRET)


@pytest.mark.parametrize(
    "secrets", [[], ["whsec_"], [SECRET + "!"], [SECRET[:-4]], [SECRET.removeprefix("whsec_")], [SECRET, ""]]
)
def test_a_secret_that_cannot_sign_is_a_bug_that_is_told_without_showing_it(secrets: list[str]) -> None:
    with pytest.raises(Broken) as caught:
        signed_headers(secrets, "evt_9", b"{}", datetime.now(UTC))
    told = f"{caught.value} {caught.value.__context__}"
    assert SECRET[6:-4] not in told


def signed(payload: bytes) -> dict[str, str]:
    """The headers of an attempt that is made now."""
    return signed_headers([SECRET], "evt_1", payload, datetime.now(UTC))
