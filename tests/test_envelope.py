"""A dispatch's message: what we write is what Celery writes, and only that is read as one."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from orchestrator.contracts import EXECUTE_TASK
from orchestrator.envelope import MOST_ID, opened, sealed
from tests.stack import Stack

QUEUE = "rightsize.llm.now"


def changed(**outer: Any) -> bytes:
    """One of our messages with some of its fields replaced."""
    return orjson.dumps({**orjson.loads(sealed(QUEUE, 7)), **outer})


def with_body(body: Any) -> bytes:
    """One of our messages with another body."""
    return changed(body=base64.b64encode(orjson.dumps(body)).decode())


def test_what_is_written_has_every_field_that_celery_writes(stack: Stack) -> None:
    stack.broker.celery.send_task(EXECUTE_TASK, kwargs={"dispatch_id": 7}, queue=QUEUE, ignore_result=True)
    theirs = stack.broker.redis.rpop(QUEUE)
    assert isinstance(theirs, bytes)
    assert opened(theirs) == 7
    told, ours = orjson.loads(theirs), orjson.loads(sealed(QUEUE, 7))
    for part in ("headers", "properties"):
        assert set(ours[part]) == set(told[part])
    for name in ("content-type", "content-encoding"):
        assert ours[name] == told[name]
    assert orjson.loads(base64.b64decode(ours["body"])) == orjson.loads(base64.b64decode(told["body"]))
    unlike = {name for part in ("headers", "properties") for name in ours[part] if ours[part][name] != told[part][name]}
    assert unlike == {"id", "root_id", "origin", "correlation_id", "reply_to", "delivery_tag"}


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff\x00", b"null", b"[]", b"7", b"{}", b'{"headers": {}}', b"[" * 20_000, changed(headers={"task": "other"}),
        changed(body="not base64!"), changed(body=7), changed(body=None), changed(properties=[]), changed(**{"content-type": "application/x-python-serialize"}),
        with_body([]), with_body([[], {}, None]), with_body([[], {"dispatch_id": "7"}, None]), with_body([[], {"dispatch_id": True}, None]),
        with_body([[], {"dispatch_id": -7}, None]), with_body([[], {"dispatch_id": MOST_ID + 1}, None]), with_body([[], {"other": 7}, None]),
        sealed(QUEUE, 7) + b" " * 20_000,
    ],
)  # fmt: skip
def test_what_asks_for_no_dispatch_is_none(raw: bytes) -> None:
    assert opened(raw) is None


def test_a_producer_may_give_the_dispatch_by_place() -> None:
    assert opened(with_body([[7], {}, None])) == 7
