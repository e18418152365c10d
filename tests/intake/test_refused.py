"""Work that is refused lies in a list with its reason, and the key in nothing that is written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from orchestrator import commands, errors
from orchestrator.flow import administer
from orchestrator.store import refusals
from orchestrator.store.refusals import MOST_REQUEST_BYTES, NewRefusal
from tests.intake.conftest import HOUSE, Producer
from tests.stack import OWNER, Stack, chat, until

CANARY = "a-prompt-that-no-log-holds"
NO_KEY = "rs_" + "x" * 43


def refused(stack: Stack, task_id: str) -> Any:
    """The one refusal of a task."""
    (found,) = until(lambda: stack.query("SELECT * FROM refusals WHERE task_id = :id", id=task_id))
    return found


def cases(producer: Producer, reader: str) -> dict[str, tuple[dict[str, Any], str, int | None]]:
    """Arguments that are refused, with the code and the tenant that the list tells."""
    whole = {"key": producer.key, "body": chat(CANARY)}
    mine = OWNER.tenant_id
    return {
        "no-key": ({"body": chat(CANARY)}, "invalid_request", None),
        "no-form": ({**whole, "key": "sk-abc"}, "invalid_api_key", None),
        "unknown-key": ({**whole, "key": NO_KEY}, "invalid_api_key", None),
        "reads-only": ({**whole, "key": reader}, "insufficient_scope", mine),
        "no-body": ({"key": producer.key}, "invalid_request", mine),
        "body-text": ({**whole, "body": "Hello"}, "invalid_request", mine),
        "unknown-field": ({**whole, "priority": 9}, "invalid_request", mine),
        "key-as-field": ({**whole, producer.key: 1}, "invalid_request", mine),
        "deadline": ({**whole, "deadline": "soon"}, "invalid_request", mine),
        "endpoint": ({**whole, "endpoint": "/v1/nothing"}, "invalid_request", mine),
        "model": ({**whole, "body": chat(CANARY, model="gpt-99")}, "model_not_found", mine),
        "key-in-body": ({**whole, "body": {**chat(CANARY), "user": producer.key, "x": 1}}, "invalid_request", mine),
    }


def test_every_kind_of_refused_work_is_listed_with_its_reason_and_without_its_key(
    stack: Stack, producer: Producer
) -> None:
    intake = stack.intake()
    reader = str(commands.create_key(stack.settings, "reader", scopes=("read",))["key"])
    wanted = cases(producer, reader)
    sent = {
        name: producer.app.send_task("rightsize.submit", kwargs=kwargs, task_id=name, queue="rightsize.submit")
        for name, (kwargs, *_) in wanted.items()
    }
    for name, (kwargs, code, tenant_id) in wanted.items():
        found = refused(stack, name)
        assert (found.code, found.tenant_id) == (code, tenant_id), name
        assert orjson.loads(found.request).get("body") == kwargs.get("body") or name == "key-in-body"
        with pytest.raises(Exception, match=f"^{code}: ") as raised:
            producer.answer(sent[name])
        assert CANARY not in str(raised.value)
        assert isinstance(raised.value, errors.Refused)  # since this process knows that class
    assert stack.count("SELECT count(*) FROM jobs") == 0
    stack.kill(intake, 15)
    assert intake.wait(10) == 0
    written = [stack.logs[intake.pid].read_bytes(), *dumped(stack)]
    written += [bytes(row.request or b"") + row.message.encode() for row in stack.query("SELECT * FROM refusals")]
    for secret in (producer.key, reader, NO_KEY):
        assert not any(secret.encode() in one for one in written)
    assert CANARY.encode() not in stack.logs[intake.pid].read_bytes()


def dumped(stack: Stack) -> list[bytes]:
    """Every value that Redis holds now, but what the dispatcher wakes by."""
    redis: Any = stack.broker.redis
    found = []
    for key in redis.scan_iter("*"):
        kind = redis.type(key)
        reads = {b"string": redis.get, b"hash": redis.hgetall, b"set": redis.smembers}
        ranges = {b"list": redis.lrange, b"zset": redis.zrange}
        value = reads[kind](key) if kind in reads else ranges[kind](key, 0, -1)
        found.append(key + repr(value).encode())
    return found


def test_work_beyond_the_budget_is_refused_with_what_is_left(stack: Stack, producer: Producer) -> None:
    stack.intake()
    administer.set_budget(stack.context, HOUSE, "project", "default", "total", Decimal("0.0000001"))
    with pytest.raises(errors.BudgetExhausted, match=r"budget_exhausted: .*has .* left"):
        producer.answer(producer.submit(task_id="dear"))
    assert refused(stack, "dear").code == "budget_exhausted"
    assert stack.count("SELECT count(*) FROM jobs") == 0


def test_a_message_that_has_expired_is_refused_as_its_tenants(stack: Stack, producer: Producer) -> None:
    sent = producer.submit(task_id="late", expires=0.01)
    stack.intake()
    found = refused(stack, "late")
    assert (found.code, found.tenant_id) == ("invalid_request", OWNER.tenant_id)
    with pytest.raises(errors.Refused, match="`expires` has passed"):
        producer.answer(sent)


def test_a_refused_tasks_question_is_answered_with_the_reason_at_once(stack: Stack, producer: Producer) -> None:
    stack.intake()
    producer.submit(chat("x", model="gpt-99"), task_id="wrong")
    refused(stack, "wrong")
    with pytest.raises(errors.NotFound, match=r"The message was refused: model_not_found: .*GET /v1/refusals/\d+"):
        producer.ask("celery:wrong", wait_s=50)
    assert stack.count("SELECT count(*) FROM refusals") == 1


def test_of_a_large_request_the_beginning_is_kept(stack: Stack, producer: Producer) -> None:
    stack.intake()
    producer.submit(chat("x" * 400_000, model="gpt-99"), task_id="large")
    assert len(refused(stack, "large").request) == MOST_REQUEST_BYTES


def test_old_refusals_and_those_beyond_the_newest_are_forgotten(stack: Stack) -> None:
    with stack.context.house.unit_of_work() as session:
        for number in range(30):
            refusals.add(session, NewRefusal(1 if number % 2 else None, f"t{number}", "code", "why", None))
        assert (refusals.count(session, 1), refusals.count(session, None)) == (15, 15)
    stack.query("UPDATE refusals SET created_at = now() - interval '31 days' WHERE id <= 5 RETURNING id")
    with stack.context.house.unit_of_work() as session:
        assert refusals.forget(session, 30) == 5
        assert refusals.forget(session, 30, keep=10) == 15
        assert refusals.forget(session, 30, keep=10) == 0
    with stack.context.house.unit_of_work() as session:
        first = refusals.listed(session, 1, before=2**62, limit=3)
        then = refusals.listed(session, 1, before=first[-1].id, limit=3)
        assert [row.id for row in (*first, *then)] == [30, 28, 26, 24, 22]
        assert refusals.find(session, None, 30) is None
        assert refusals.of_task(session, 1, "t29").id == 30
