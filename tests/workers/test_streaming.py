"""The pieces of answers on their way over a real Redis: at once, joined, bounded, in order, and never waited for."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.broker import Broker
from orchestrator.contracts import MOST_PIECES, MOST_PIECES_BYTES, Usage, answer_stream
from orchestrator.settings import Settings
from tests.conftest import Servers
from tests.workers.claimed import claimed
from tests.workers.reading import held
from workers.engines.assembly import piece
from workers.streaming import MOST_WAITING_CHARS, Pieces, Sink, connect

CHAT = "/v1/chat/completions"
Body = Callable[[Sink], Awaitable[None]]


@pytest.fixture
def place(servers: Servers, tmp_path: Path) -> Settings:
    return Settings.load({"redis_url": servers.redis_url, "data_dir": tmp_path})


@pytest.fixture
def broker(place: Settings) -> Any:
    made = Broker(place)
    yield made
    made.close()


def with_sink(settings: Settings, body: Body) -> None:
    async def main() -> None:
        client = connect(settings)
        sink = Sink(client)
        try:
            await body(sink)
        finally:
            await sink.close()
            await client.aclose()

    asyncio.run(asyncio.wait_for(main(), 60))


def say(pieces: Pieces, text: str, index: int = 0, **more: Any) -> None:
    pieces.add([piece(CHAT, index, text=text, **more)], Usage(3, 1, len(text)))


def test_a_piece_is_there_in_the_form_that_readers_know(place: Settings, broker: Broker) -> None:
    job = claimed(attempt=2)

    async def body(sink: Sink) -> None:
        pieces = sink.open(job)
        assert not pieces.said
        say(pieces, "Hello")
        assert pieces.said
        await pieces.settled()

    with_sink(place, body)
    told = held(broker.redis, job.public_id)
    assert told.ids == ["2-0"]
    assert told.attempts == [2]
    usage = told.pieces[0]["usage"]
    assert told.pieces[0]["choices"] == [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 5, 8)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 1
    assert 0 < broker.redis.ttl(answer_stream(job.public_id)) <= 60


def test_pieces_that_come_apart_stay_apart_and_those_that_wait_for_a_send_go_together(
    place: Settings, broker: Broker
) -> None:
    job = claimed()

    async def body(sink: Sink) -> None:
        pieces = sink.open(job)
        for word in ("one ", "two "):
            say(pieces, word)
            await pieces.settled()
        say(pieces, "three ")
        while pieces._waiting:  # noqa: ASYNC110 - until it is taken and in flight
            await asyncio.sleep(0)
        for number in range(50):
            say(pieces, f"{number} ", calls=[{"index": 0, "function": {"arguments": str(number)}}])
            say(pieces, f"<{number}>", index=1, logprobs={"content": [{"token": str(number)}]})
        await pieces.settled()

    with_sink(place, body)
    told = held(broker.redis, job.public_id)
    assert told.ids == ["1-0", "1-1", "1-2", "1-3"]
    first, second = told.whole()
    assert first["message"]["content"] == "one two three " + "".join(f"{number} " for number in range(50))
    assert first["message"]["tool_calls"][0]["function"]["arguments"] == "".join(map(str, range(50)))
    assert second["message"]["content"] == "".join(f"<{number}>" for number in range(50))
    assert [row["token"] for row in second["logprobs"]["content"]] == list(map(str, range(50)))


def test_many_answers_at_once_keep_each_its_order(place: Settings, broker: Broker) -> None:
    jobs = [claimed() for _ in range(40)]

    async def body(sink: Sink) -> None:
        every = [sink.open(job) for job in jobs]
        for number in range(30):
            for pieces in every:
                say(pieces, f"{number} ")
            await asyncio.sleep(0)
        for pieces in every:
            await pieces.settled()

    with_sink(place, body)
    for job in jobs:
        told = held(broker.redis, job.public_id)
        assert told.text == "".join(f"{number} " for number in range(30))
        assert len(told.ids) < 30, "what waited went together"
        assert [one.split("-")[1] for one in told.ids] == [str(number) for number in range(len(told.ids))]


def test_a_slow_reader_finds_no_more_than_the_bound_and_sees_that_something_is_missing(
    place: Settings, broker: Broker
) -> None:
    many, large = claimed(), claimed()

    async def body(sink: Sink) -> None:
        pieces = sink.open(many)
        for number in range(MOST_PIECES + 20):
            say(pieces, str(number))
            await pieces.settled()
        pieces = sink.open(large)
        for _ in range(20):
            say(pieces, "x" * 500_000)
            await pieces.settled()

    with_sink(place, body)
    told = held(broker.redis, many.public_id)
    assert len(told.ids) == MOST_PIECES
    assert (told.ids[0], told.ids[-1]) == ("1-20", f"1-{MOST_PIECES + 19}")
    rows: Any = broker.redis.xrange(answer_stream(large.public_id))
    assert sum(len(fields[b"chunk"]) for _, fields in rows) <= MOST_PIECES_BYTES
    assert (rows[0][0], rows[-1][0]) == (b"1-12", b"1-19")


def test_no_piece_comes_behind_the_end_or_behind_those_of_a_later_attempt(place: Settings, broker: Broker) -> None:
    ended, retried = claimed(), claimed()

    async def body(sink: Sink) -> None:
        late = sink.open(ended)
        say(late, "Hello")
        await late.settled()
        broker.send_answers([(ended.public_id, "", {"kind": b"succeeded", "body": b"{}"})])
        say(late, "too late")
        await late.settled()
        first, second = sink.open(retried), sink.open(claimed(attempt=2, public_id=retried.public_id))
        for pieces, text in ((first, "half"), (second, "whole"), (first, "zombie"), (first, "!"), (second, ", again")):
            say(pieces, text)
            await pieces.settled()

    with_sink(place, body)
    told = held(broker.redis, ended.public_id)
    assert told.last == [False, True]
    assert told.text == "Hello"
    again = held(broker.redis, retried.public_id)
    assert again.ids[-2:] == ["2-0", "2-1"]
    assert "zombie" not in again.text


def test_a_piece_that_was_lost_leaves_no_gap_since_none_follows(
    place: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = claimed(), claimed()

    async def body(sink: Sink) -> None:
        pieces, later = sink.open(job), sink.open(other)
        say(pieces, "one")
        await pieces.settled()
        with monkeypatch.context() as patch:

            async def broken(commands: Any) -> list[Any]:
                raise redis.ConnectionError("gone")

            patch.setattr(sink, "_sent", broken)
            say(pieces, "two")
            await pieces.settled()
        assert pieces.said, "the first one was seen"
        say(pieces, "three")
        say(later, "of another")
        await asyncio.gather(pieces.settled(), later.settled())

    with_sink(place, body)
    assert held(broker.redis, job.public_id).text == "one"
    assert held(broker.redis, other.public_id).text == "of another"


def test_what_is_no_text_is_not_sent_and_neither_is_a_piece_beyond_the_bound(place: Settings, broker: Broker) -> None:
    half, huge = claimed(), claimed()

    async def body(sink: Sink) -> None:
        for job, text in ((half, "\ud800"), (huge, "x" * (MOST_WAITING_CHARS + 1))):
            pieces = sink.open(job)
            say(pieces, text)
            await pieces.settled()
            assert not pieces.said

    with_sink(place, body)
    assert not held(broker.redis, half.public_id).ids
    assert not held(broker.redis, huge.public_id).ids


def test_a_redis_that_refuses_connections_costs_no_time(tmp_path: Path) -> None:
    async def body(sink: Sink) -> None:
        began = time.monotonic()
        for _ in range(20):
            pieces = sink.open(claimed())
            say(pieces, "Hello")
            await pieces.settled()
            assert not pieces.said, "another attempt may still answer"
        assert time.monotonic() - began < 10

    with_sink(Settings.load({"redis_url": f"redis+socket://{tmp_path}/none.sock", "data_dir": tmp_path}), body)


def test_a_redis_that_hangs_is_waited_for_by_nobody_but_the_end_and_not_for_long(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()

        async def body(sink: Sink) -> None:
            every = [sink.open(claimed()) for _ in range(20)]
            began = time.monotonic()
            for pieces in every:
                for _ in range(1_000):
                    say(pieces, "word " * 10)
                    await asyncio.sleep(0)
            assert time.monotonic() - began < 30, "a wait for each of 20,000 pieces would take hours"
            assert sum(pieces._chars for pieces in every) <= 20 * MOST_WAITING_CHARS
            began = time.monotonic()
            await asyncio.gather(*(pieces.settled() for pieces in every))
            assert time.monotonic() - began < 30
            assert not any(pieces.said for pieces in every)

        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        with_sink(Settings.load({"redis_url": url, "data_dir": tmp_path}), body)
