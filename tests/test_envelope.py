"""A dispatch's message: what we write is what Celery writes, and only that is read as one."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from orchestrator.contracts import EXECUTE_TASK, REPLIES
from orchestrator.envelope import MOST_ID, Message, opened, sealed
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
    assert opened(theirs) == Message(7, ""), "a producer's own reply address is none of ours"
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
    assert opened(with_body([[7], {}, None])) == Message(7, "")


def test_the_way_back_is_read_where_it_is_one_of_ours() -> None:
    assert opened(sealed(QUEUE, 7, f"{REPLIES}ab12")) == Message(7, f"{REPLIES}ab12")


@pytest.mark.parametrize("name", ["rightsize.wake", "x" * 5_000, REPLIES + "x" * 5_000, 7, None, ["a"]])
def test_an_answer_is_sent_to_no_other_key_of_redis(name: Any) -> None:
    properties = {**orjson.loads(sealed(QUEUE, 7))["properties"], "reply_to": name}
    assert opened(changed(properties=properties)) == Message(7, "")
