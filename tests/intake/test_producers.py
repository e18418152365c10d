"""What producers are told: results and errors as Celery makes them again, also over TLS, and never a key."""

from __future__ import annotations

import inspect
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from orchestrator import errors
from orchestrator.errors import BudgetExhausted, EngineFault, JobFailed, NotFound, Refused, RightsizeError, UnknownModel
from orchestrator.flow.show import NotHere
from orchestrator.intake.producers import MOST_MESSAGE_CHARS, Producers, Untold, bytes_without_keys, told, without_keys
from orchestrator.settings import Settings
from tests import own_servers, tls

# Celery's own call, in this very process.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
KEY = "rs_" + "aB-_" * 10 + "xyz"
KINDS = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, RightsizeError)]


@pytest.fixture
def producers(settings: Settings) -> Producers:
    return Producers(settings)


def made(kind: type[RightsizeError]) -> RightsizeError:
    if kind is UnknownModel:
        return UnknownModel("gpt-99", ["fast"])
    if kind is EngineFault:
        return EngineFault("why", code="x", retryable=False)
    if kind is JobFailed:
        return JobFailed("why", code="x", job_id="job_x")
    return kind("why")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_reaches_its_producer_as_one_that_it_can_catch(
    kind: type[RightsizeError], settings: Settings, producers: Producers
) -> None:
    error = made(kind)
    producers.tell("one", None, error)
    url = settings.require_redis()
    with Celery("shop", broker=url, backend=url, set_as_current=False) as app:
        with pytest.raises(RightsizeError) as raised:
            app.AsyncResult("one").get(timeout=5)
        assert str(raised.value) == f"{error.code}: {error.message}"
        expected = {
            UnknownModel: NotFound,
            EngineFault: errors.Broken,
            JobFailed: errors.Broken,
            RightsizeError: errors.Broken,
        }
        assert type(raised.value) is expected.get(kind, kind)
        app.AsyncResult("one").forget()
    producers.close()


def test_an_error_that_only_we_know_is_told_as_the_one_it_refines() -> None:
    class OverBudget(BudgetExhausted):
        """One of ours."""

    assert type(told(OverBudget("x"))) is BudgetExhausted
    assert type(told(NotHere("x", refused=True))) is NotFound
    assert type(told(UnknownModel("x", []))) is NotFound
    assert type(told(EngineFault("x", code="x", retryable=True))) is errors.Broken


def test_no_key_and_nothing_that_cannot_be_stored_stands_in_what_is_told() -> None:
    text = str(told(Refused(f"`{KEY}`: \0 \ud800 no. {'x' * 5_000}")))
    assert KEY not in text
    assert text.startswith("invalid_request: `rs_...`:  ? no. x")
    assert len(without_keys("x" * 5_000)) == MOST_MESSAGE_CHARS
    assert bytes_without_keys(b'{"a":"' + KEY.encode() + b'"}') == b'{"a":"rs_..."}'


def test_a_result_that_the_backend_does_not_take_is_said_and_a_redis_that_is_away_is_not(
    settings: Settings, producers: Producers
) -> None:
    with redis.Redis.from_url(
        settings.require_redis().replace("redis+socket://", "unix://").replace("virtual_host", "db")
    ) as client:
        client.lpush("celery-task-meta-other", "somebody's own")
        with pytest.raises(Untold):
            producers.tell("other", {"a": 1}, None)
        with pytest.raises(Untold):
            producers.tell("odd", object(), None)
        client.delete("celery-task-meta-other")
    producers.close()
    gone = Producers(settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")}))  # type: ignore[call-arg]
    with pytest.raises(redis.RedisError):
        gone.tell("one", 1, None)
    gone.close()


def test_results_and_the_queue_go_over_tls_to_a_server_that_is_verified(tmp_path: Path, settings: Settings) -> None:
    certs = tls.certificates(tmp_path)
    with own_servers.valkey() as valkey, tls.in_front_of(urlsplit(valkey.url).port or 0, certs) as port:
        given = {**settings.model_dump(exclude_unset=True), "redis_ca_file": certs.authority}
        url = f"rediss://:s3cret@{tls.NAME}:{port}/0"
        there = Producers(Settings.load({**given, "redis_url": url}))
        there.declare()
        there.tell("one", {"a": 1}, None)
        there.close()
        with redis.Redis.from_url(valkey.url) as client:
            assert client.exists("_kombu.binding.rightsize.submit")
            assert 3_000 < client.ttl("celery-task-meta-one") <= 3_600
        strange = Producers(Settings.load({**given, "redis_url": url, "redis_ca_file": certs.stranger}))
        with pytest.raises((redis.RedisError, ssl.SSLError), match="CERTIFICATE_VERIFY_FAILED"):
            strange.tell("two", {"a": 1}, None)
        strange.close()
