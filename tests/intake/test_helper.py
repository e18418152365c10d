"""The typed calls for producers: `orchestrator.client.celery` on a Celery application of theirs."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
from celery import Celery

from orchestrator import errors
from orchestrator.client import celery as ours
from tests.intake.conftest import Producer
from tests.stack import ROOT, Stack, chat


def test_a_job_is_handed_in_and_its_answer_read_with_two_calls(stack: Stack, producer: Producer) -> None:
    stack.orchestrator()
    stack.worker()
    stack.intake()
    name = ours.submit(producer.app, producer.key, chat("Where is order 1041?"), deadline="30m", task_id="order-1041")
    assert name == "celery:order-1041"
    job = ours.result(producer.app, producer.key, name, wait_s=30)
    assert (job["state"], job["expires_at"] - job["created_at"]) == ("succeeded", 1800)
    assert ours.result(producer.app, producer.key, job["id"]) == job
    again = ours.submit(producer.app, producer.key, chat("Where is order 1041?"), task_id="order-1041", countdown=0.1)
    assert again == name
    assert ours.submit(producer.app, producer.key, chat("x")) != ours.submit(producer.app, producer.key, chat("x"))
    stack.must_hold()


def test_what_was_refused_raises_the_same_error_as_over_http(stack: Stack, producer: Producer) -> None:
    stack.intake()
    name = ours.submit(producer.app, producer.key, chat("x", model="gpt-99"))
    with pytest.raises(errors.NotFound, match="The message was refused: model_not_found"):
        ours.result(producer.app, producer.key, name, wait_s=20)
    with pytest.raises(errors.Unauthorized, match="invalid_api_key: "):
        ours.result(producer.app, "sk-wrong", name)


def test_the_key_stands_in_no_event_and_no_representation(stack: Stack, producer: Producer) -> None:
    ours.submit(producer.app, producer.key, chat("Hello"))
    (raw,) = stack.broker.redis.lrange("rightsize.submit", 0, -1)
    headers = orjson.loads(raw)["headers"]
    assert producer.key not in str(headers)
    assert headers["kwargsrepr"] == "{...}"


def test_without_a_result_backend_one_is_told_what_to_do() -> None:
    with (
        Celery("plain", broker="memory://", set_as_current=False) as app,
        pytest.raises(errors.InvalidRequest, match="result_backend"),
    ):
        ours.result(app, "rs_x", "celery:x")


def test_the_calls_need_nothing_of_the_server_and_not_celery_itself() -> None:
    code = (
        "import sys; from orchestrator.client import celery\n"
        "heavy = {'celery', 'kombu', 'sqlalchemy', 'psycopg', 'redis', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
