"""Every class of error that the official client raises, with `type`, `code` and `param`; its retries and timeouts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from orchestrator.errors import ServiceUnavailable
from tests.contract.sdk import Sdk
from tests.contract.test_batches import create, ended
from tests.serving import Api, make_key
from tests.stack import chat, rows, until

FAST = "fast"


def say(client: Any, text: str = "Hello", **more: Any) -> Any:
    return client.chat.completions.create(**chat(text, model=FAST), **more)


def caught(sdk: Sdk, pending: Callable[[], Any], kind: type[openai.APIStatusError]) -> openai.APIStatusError:
    """The error that a call ends in; its body has OpenAI's form."""
    with pytest.raises(kind) as found:
        sdk(pending())
    error = found.value
    assert type(error) is kind
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.message.count(error.body["message"]) == 1
    assert error.request_id
    return error


def told(error: openai.APIStatusError) -> tuple[int, str | None, str | None, str | None]:
    return error.status_code, error.type, error.code, error.param


def test_400_a_wrong_field_is_named(sdk: Sdk) -> None:
    error = caught(sdk, lambda: sdk.client.chat.completions.create(**chat("x"), n=99), openai.BadRequestError)
    assert told(error) == (400, "invalid_request_error", "invalid_request", "n")


@pytest.mark.parametrize("key", ["rs_" + "a" * 43, "sk-something"])
def test_401_a_key_that_is_none(sdk: Sdk, key: str) -> None:
    with sdk.other(api_key=key) as stranger:
        error = caught(sdk, lambda: stranger.models.retrieve(FAST), openai.AuthenticationError)
    assert told(error) == (401, "authentication_error", "invalid_api_key", None)


def test_403_a_key_that_may_only_read(api: Api, sdk: Sdk) -> None:
    with sdk.other(api_key=make_key(api.stack.settings, scopes=["read"])) as reader:
        assert sdk(reader.models.retrieve(FAST)).id == FAST
        error = caught(sdk, lambda: say(reader), openai.PermissionDeniedError)
    assert told(error) == (403, "permission_error", "insufficient_scope", None)


def test_404_what_there_is_not(sdk: Sdk) -> None:
    error = caught(sdk, lambda: sdk.client.batches.retrieve("batch_" + "0" * 32), openai.NotFoundError)
    assert told(error) == (404, "not_found_error", "not_found", None)
    error = caught(sdk, lambda: sdk.client.batches.retrieve("batch_abc"), openai.NotFoundError)
    assert told(error) == (404, "not_found_error", "not_found", None)
    asked = {**chat("x"), "model": "gpt-nothing"}
    error = caught(sdk, lambda: sdk.client.chat.completions.create(**asked), openai.NotFoundError)
    assert told(error) == (404, "not_found_error", "model_not_found", "model")


def test_409_what_has_ended_is_not_cancelled_and_the_client_does_not_try_again(sdk: Sdk) -> None:
    batch = ended(sdk, create(sdk, rows(1)).id)
    with sdk.other(max_retries=2) as patient:
        error = caught(sdk, lambda: patient.batches.cancel(batch.id), openai.ConflictError)
    assert told(error) == (409, "invalid_request_error", "conflict", None)
    assert sdk.statuses == [409]


def test_422_what_no_model_can_do_within_its_bounds(sdk: Sdk) -> None:
    hints = {"rightsize": {"max_cost_usd": "0.000000001"}}
    error = caught(sdk, lambda: say(sdk.client, extra_body=hints), openai.UnprocessableEntityError)
    assert told(error)[:3] == (422, "invalid_request_error", "tier_unavailable")


def test_402_a_budget_that_is_used_up_has_no_class_of_its_own(api: Api, sdk: Sdk) -> None:
    made = api.post("/v1/keys", {"name": "poor", "scopes": ["submit", "read"]}).json()
    limit = {"scope": "key", "named": made["id"], "limit_usd": "0.000001"}
    assert api.http.put("/v1/budgets", json=limit).status_code == 200
    with sdk.other(api_key=made["key"]) as poor:
        error = caught(sdk, lambda: say(poor), openai.APIStatusError)
    assert told(error)[:3] == (402, "insufficient_quota", "budget_exhausted")


def test_413_a_body_over_the_bound_has_no_class_of_its_own(sdk: Sdk) -> None:
    error = caught(sdk, lambda: say(sdk.client, "x" * 1_500_000), openai.APIStatusError)
    assert told(error)[:3] == (413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize(
    "kind, status, code", [("500", 502, "server_error"), ("timeout", 504, "timeout"), ("429", 503, "rate_limited")]
)
def test_5xx_a_model_that_fails_is_not_asked_again_by_the_client(sdk: Sdk, kind: str, status: int, code: str) -> None:
    with sdk.other(max_retries=2) as patient:
        error = caught(sdk, lambda: say(patient, f"[[fail:{kind}]]"), openai.InternalServerError)
    assert told(error)[:3] == (status, "server_error", code)
    assert sdk.statuses == [status]  # its retries are spent already: `x-should-retry: false`
    assert error.response.headers["x-rightsize-job"].startswith("job_")


@pytest.fixture
def limited(api: Api, sdk: Sdk) -> Iterator[Any]:
    """A patient client of a key that may take 6,000 tokens a minute."""
    made = api.post("/v1/keys", {"name": "limited", "scopes": ["submit", "read"]}).json()
    quota = {"scope": "key", "named": made["id"], "tokens_per_minute": 6_000}
    assert api.http.put("/v1/quotas", json=quota).status_code == 200
    with sdk.other(api_key=made["key"], max_retries=2) as client:

        def is_limited() -> bool:
            raw = sdk(client.chat.completions.with_raw_response.create(**chat("x", model=FAST), max_tokens=1))
            return "x-ratelimit-limit-tokens" in raw.headers

        until(is_limited, 10, "the quota is in force")
        yield client


def test_429_the_client_waits_as_long_as_it_is_told_and_tries_again(sdk: Sdk, limited: Any) -> None:
    raw = sdk(limited.chat.completions.with_raw_response.create(**chat("x", model=FAST), max_tokens=5_700))
    assert raw.headers["x-ratelimit-limit-tokens"] == "6000"
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) < 300
    assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")
    sdk.statuses.clear()
    began = time.monotonic()
    assert sdk(say(limited, max_tokens=400)).choices[0].message.content
    assert sdk.statuses == [429, 200]
    assert 1.0 <= time.monotonic() - began < 20
    impatient = limited.with_options(max_retries=0)
    error = caught(sdk, lambda: say(impatient, max_tokens=3_000), openai.RateLimitError)
    assert told(error) == (429, "rate_limit_error", "rate_limit_exceeded", None)
    assert int(error.response.headers["retry-after"]) >= 1


def test_503_the_client_waits_as_long_as_it_is_told_and_tries_again(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def away(*_: object, **__: object) -> dict[str, str]:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise ServiceUnavailable("The database does not answer.", retry_after_s=1.0)
        return {}

    monkeypatch.setattr("orchestrator.flow.quotas.take", away)
    with sdk.other(max_retries=1) as patient:
        assert sdk(say(patient)).choices[0].message.content
    assert sdk.statuses == [503, 200]
    assert calls[1] - calls[0] >= 1.0


def test_a_client_that_gives_up_cancels_what_it_asked_for(api: Api, sdk: Sdk) -> None:
    before = api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")
    with pytest.raises(openai.APITimeoutError):
        sdk(say(sdk.client, "[[sleep:4]] x", timeout=0.5))
    cancelled = "SELECT count(*) FROM jobs WHERE id > :id AND state = 12"
    until(lambda: api.stack.count(cancelled, id=before), 10, "the job is cancelled")


def test_a_server_that_is_not_there_is_a_connection_error(sdk: Sdk) -> None:
    with sdk.other(base_url="http://127.0.0.1:9/v1") as lost, pytest.raises(openai.APIConnectionError):
        sdk(say(lost))


def test_an_idempotency_key_is_answered_once(sdk: Sdk) -> None:
    headers = {"Idempotency-Key": f"chat-{sdk.is_async}"}
    first, second = (sdk(say(sdk.client, extra_headers=headers)) for _ in range(2))
    assert first.id == second.id
    error = caught(sdk, lambda: say(sdk.client, "Another", extra_headers=headers), openai.ConflictError)
    assert error.code == "idempotency_conflict"
