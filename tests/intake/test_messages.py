"""Celery's messages read as data: what Celery 5 writes is understood, everything else is refused with what to send instead."""

from __future__ import annotations

import base64
import pickle
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api import schemas
from orchestrator.errors import InvalidRequest, Refused, TooLarge
from orchestrator.intake.messages import envelope, task_id_of
from orchestrator.intake.work import Submission

KWARGS = {"key": "rs_x", "body": {"messages": []}}


def message(body: Any = None, headers: Any = None, outer: dict[str, Any] | None = None) -> bytes:
    """A message as kombu writes it to Redis."""
    raw = body if isinstance(body, bytes) else orjson.dumps([[], KWARGS, {}] if body is None else body)
    whole = {
        "body": base64.b64encode(raw).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "rightsize.submit", "id": "one", **(headers or {})},
        "properties": {"body_encoding": "base64", "delivery_tag": "t", "priority": 0},
        **(outer or {}),
    }
    return orjson.dumps(whole)


def arguments(raw: bytes, most_bytes: int = 10_000, most_depth: int = 8) -> Any:
    return envelope(raw).arguments(most_bytes, most_depth)


def test_a_submission_has_the_fields_of_post_v1_jobs_and_a_key() -> None:
    theirs, ours = schemas.CreateJob.model_json_schema(), Submission.model_json_schema()
    assert set(ours["properties"]) == {*theirs["properties"], "key"}
    assert set(ours["required"]) == {*theirs["required"], "key"}
    for name, field in theirs["properties"].items():
        for what in ("type", "default", "maxLength"):
            assert ours["properties"][name].get(what) == field.get(what), (name, what)


def test_a_message_is_read_also_packed_or_without_base64() -> None:
    assert arguments(message()) == KWARGS
    plain = orjson.dumps([[], KWARGS, {}]).decode()
    assert arguments(message(outer={"body": plain, "properties": {}})) == KWARGS
    packed = zlib.compress(orjson.dumps([[], KWARGS, {}]))
    assert arguments(message(packed, {"compression": "application/x-gzip"})) == KWARGS


def test_a_message_that_was_put_off_remembers_since_when_and_is_otherwise_the_same() -> None:
    first = envelope(message())
    again = envelope(first.held(1000.5))
    assert (first.since, first.tries, again.since, again.tries) == (None, 0, 1000.5, 1)
    assert again.arguments(10_000, 8) == KWARGS
    assert envelope(again.held(1000.5)).tries == 2
    for made_up in ("soon", {"since": "x", "tries": 1}, {"since": 1, "tries": None}, [1]):
        assert envelope(message(headers={"rightsize": made_up})).since is None


def test_times_are_read_as_celery_writes_them() -> None:
    eta = datetime(2026, 11, 28, 7, 0, tzinfo=UTC)
    assert envelope(message(headers={"eta": eta.isoformat()})).eta == eta
    assert envelope(message(headers={"expires": "2026-11-28T07:00:00"})).expires == eta
    far = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    for wrong in ("tomorrow", 5, [], far):
        with pytest.raises(InvalidRequest, match="eta"):
            envelope(message(headers={"eta": wrong}))


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"not json", "not JSON"),
        (b"", "not JSON"),
        (message()[:-20], "not JSON"),
        (b"[1,2]", "no headers"),
        (b"null", "no headers"),
        (message(headers={"task": None}), "task_protocol"),
        (message(headers={"task": 5}), "must be text"),
        (message(headers={"id": ""}), "1 to 200"),
        (message(headers={"id": "x" * 256}), "1 to 200"),
        (message(headers={"id": "a b"}), "1 to 200"),
        (b"!70000000", "70000000 bytes"),
    ],
)
def test_what_is_no_message_is_refused_with_what_to_send(raw: bytes, says: str) -> None:
    with pytest.raises(Refused, match=says):
        envelope(raw)


@pytest.mark.parametrize(
    "raw, says",
    [
        (
            message(pickle.dumps([[], KWARGS, {}]), outer={"content-type": "application/x-python-serialize"}),
            "serializer='json'",
        ),
        (message(outer={"content-type": "application/x-yaml"}), "serializer='json'"),
        (message(outer={"content-type": "application/data"}), "serializer='json'"),
        (message(outer={"body": 5}), "not text"),
        (message(outer={"body": "?"}), "base64"),
        (message(b"[[], {"), "not valid JSON"),
        (message({"task": "rightsize.submit", "kwargs": {}}), r"\[args, kwargs, embed\]"),
        (message([[], [], {}]), r"\[args, kwargs, embed\]"),
        (message([["x"], {}, {}]), "by name"),
        (message([[], {}, {"chain": [{"task": "x"}]}]), "not followed"),
        (message([[], {}, {"callbacks": [{"task": "x"}]}]), "not followed"),
        (message(zlib.compress(b"x" * 20_000), {"compression": "application/x-gzip"}), "larger than"),
        (message(b"no gzip", {"compression": "application/x-gzip"}), "gzip that it claims"),
        (message(zlib.compress(b"x" * 900)[:-6], {"compression": "zlib"}), "breaks off"),
        (message(b"x", {"compression": "application/x-bz2"}), "compression='gzip'"),
        (message([[], {"body": "x" * 20_000}, {}]), "larger than"),
        (message([[], {"body": [[[[[[[[[1]]]]]]]]]}, {}]), "deep"),
        (message(rb'[[], {"body": "\u0000"}, {}]'), "NUL"),
    ],
)
def test_a18_arguments_that_are_not_small_plain_json_are_refused_with_what_to_send(raw: bytes, says: str) -> None:
    with pytest.raises((InvalidRequest, TooLarge), match=says):
        arguments(raw)


@given(
    st.one_of(
        st.binary(max_size=200), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
    )
)
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    with pytest.raises(Refused):
        arguments(raw)
    assert task_id_of(raw) == ""


@given(
    st.dictionaries(st.sampled_from(["body", "content-type", "headers", "properties"]), st.none() | st.integers() | st.text() | st.lists(st.integers())),
    st.dictionaries(
        st.sampled_from(["task", "id", "eta", "expires", "compression", "rightsize", "ignore_result"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()),
    ),
)  # fmt: skip
def test_no_wrong_types_raise_anything_but_a_refusal(outer: dict[str, Any], headers: dict[str, Any]) -> None:
    try:
        raw = message(headers=headers, outer=outer)
    except orjson.JSONEncodeError:
        return
    with suppress(Refused):
        arguments(raw)
