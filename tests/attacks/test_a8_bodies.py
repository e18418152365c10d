"""Bodies that lie about their length, never end, or end and go on: bounded in time and memory, and nobody else waits. A8."""

from __future__ import annotations

import gzip
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import orjson
import pytest

from orchestrator.api import server
from orchestrator.settings import MIB
from tests.api.test_batches import create
from tests.attacks.alone import Alone, Grown, answer, connect, head, is_closed, within
from tests.serving import Api, make_key, serve
from tests.stack import Stack, chat, row, until

CHAT = "/v1/chat/completions"
BODY = b'{"messages":[{"role":"user","content":"x"}]}'
TYPE = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
PIECE = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@pytest.fixture
def quick(module_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API with little patience."""
    monkeypatch.setattr(server, "HEAD_WITHIN_S", 1.0)
    monkeypatch.setattr(server, "DRAIN_WITHIN_S", 1.0)
    with serve(module_stack, piece_within_s=1.0, patience_s=1.0, bytes_per_s=1000) as api:
        yield api


def poured(link: socket.socket, piece: bytes, times: int) -> int:
    """How many pieces a server takes before it hangs up."""
    for sent in range(times):
        try:
            link.sendall(piece)
        except OSError:
            return sent
    return times


def test_a8_a_body_that_never_ends_is_refused_and_then_cut_off(quick: Api) -> None:
    """Once the answer was sent, all that came after it was taken in for as long as it came: 64 GB in one test."""
    with connect(quick) as link, within(20):
        link.sendall(head(quick, "POST", CHAT, TYPE, CHUNKED))
        assert poured(link, PIECE, 10**6) < 10**6
        link.settimeout(1)
        with suppress(OSError):
            assert link.recv(1000).startswith(b"HTTP/1.1 413")


def test_a8_the_refusal_of_a_large_body_arrives_although_the_rest_was_on_its_way(quick: Api) -> None:
    for framing, pieces in (
        (CHUNKED, [PIECE] * 72 + [b"0\r\n\r\n"]),
        (f"Content-Length: {72 << 16}", [b"x" * 0x10000] * 72),
    ):
        with connect(quick) as link:
            link.sendall(head(quick, "POST", CHAT, TYPE, framing))
            for piece in pieces:
                link.sendall(piece)
            assert answer(link).startswith(b"HTTP/1.1 413"), framing


def test_a8_headers_behind_a_body_are_bounded_and_count_for_nothing(alone: Alone) -> None:
    """They were kept without a bound: a gigabyte of them took a gigabyte of memory."""
    api = alone.api
    reader = make_key(api.stack.settings, scopes=["read"])
    with connect(api) as link, Grown(alone.process) as grown:
        link.sendall(head(api, "POST", CHAT, TYPE, CHUNKED) + b"1\r\nx\r\n0\r\n")
        poured(link, b"".join(b"t%d: " % n + b"e" * 1000 + b"\r\n" for n in range(100)), 2_000)
        assert is_closed(link, 20)
    assert grown.mib < 30
    with connect(api) as link:
        key = f"Authorization: Bearer {reader}\r\n".encode()
        admin = f"Authorization: Bearer {api.key}\r\nIdempotency-Key: trailing\r\n\r\n".encode()
        line = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + key + TYPE.encode() + b"\r\n" + CHUNKED.encode() + b"\r\n\r\n"
        link.sendall(line + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n" + admin)
        assert answer(link).startswith(b"HTTP/1.1 403"), "the key at the head is the one that counts"


@pytest.mark.parametrize(
    "after", [b"1;" + b"e" * 10_000 + b"\r\nx\r\n", b"1\r\nx\r\n"], ids=["extensions", "single bytes"]
)
def test_a8_chunks_of_one_byte_are_too_slow_however_fast_they_come(quick: Api, after: bytes) -> None:
    with connect(quick) as link, within(20):
        link.sendall(head(quick, "POST", CHAT, TYPE, CHUNKED))
        stop = threading.Event()

        def trickle() -> None:
            with suppress(OSError):
                while not stop.wait(0.005):
                    link.sendall(after)

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert answer(link, 10)[:12] in (b"HTTP/1.1 408", b"")
            assert is_closed(link, 10)
        finally:
            stop.set()
            thread.join(10)


def test_a8_an_extension_that_never_ends_is_cut_off(quick: Api) -> None:
    with connect(quick) as link, within(20):
        link.sendall(head(quick, "POST", CHAT, TYPE, CHUNKED) + b"1;")
        assert poured(link, b"e" * 0x10000, 10**6) < 10**6


@pytest.mark.parametrize("between", [b"\r\n", b"\n", b"G", b"GET /livez HTTP/1.1\r\nX: "], ids=str)
def test_a8_a_connection_between_two_requests_is_not_held_open_by_a_few_bytes(quick: Api, between: bytes) -> None:
    """One empty line once kept a connection for ever."""
    with connect(quick) as link:
        link.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(link).startswith(b"HTTP/1.1 200")
        link.sendall(between)
        assert is_closed(link, 8)


def test_a8_a_long_answer_is_not_cut_off_by_the_bounds_on_requests(quick: Api) -> None:
    sleeps = chat("[[sleep:3]] x")
    assert quick.post(CHAT, sleeps).status_code == 200
    with connect(quick) as link:  # two requests at once, the second of which waits for the first
        body = orjson.dumps(sleeps)
        one = head(quick, "POST", CHAT, TYPE, f"Content-Length: {len(body)}") + body
        link.sendall(one + head(quick, "GET", "/v1/models"))
        assert answer(link).startswith(b"HTTP/1.1 200")
        assert answer(link).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "lines, body",
    [
        (["Content-Length: 5", CHUNKED], b"0\r\n\r\nGET /v1/tenants HTTP/1.1\r\n\r\n"),
        (["Content-Length: 5", f"Content-Length: {len(BODY)}"], BODY),
        (["Content-Length: 5, 44"], BODY), (["Content-Length: +44"], BODY), (["Content-Length: 0x2c"], BODY), (["Content-Length: 44\x0b"], BODY),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"), (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
        (["Transfer-Encoding: gzip"], gzip.compress(BODY)), (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
        (["X: a\r\n Transfer-Encoding: chunked"], b"0\r\n\r\n"), ([CHUNKED], b"-1\r\n"), ([CHUNKED], b"fffffffffffffffffff\r\nx"),
        ([CHUNKED], b"5\r\n{}\r\n0\r\n\r\n"),
    ],
    ids=range(14),
)  # fmt: skip
def test_a8_a_length_that_can_be_read_in_two_ways_is_no_request(api: Api, lines: list[str], body: bytes) -> None:
    jobs = api.stack.count("SELECT count(*) FROM jobs")
    with connect(api) as link:
        link.sendall(head(api, "POST", CHAT, TYPE, *lines) + body)
        link.shutdown(socket.SHUT_WR)
        said = answer(link)
    assert said[:10] in (b"HTTP/1.1 4", b""), said[:200]
    assert said.count(b"HTTP/1.1") <= 1, "nothing was smuggled in"
    assert api.stack.count("SELECT count(*) FROM jobs") == jobs


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "x"])
def test_a8_a_body_in_a_coding_is_not_unpacked(alone: Alone, coding: str) -> None:
    bomb = gzip.compress(b'{"a":"' + b"x" * (200 * MIB) + b'"}', 1)
    with Grown(alone.process) as grown:
        response = alone.api.http.post(
            CHAT, content=bomb, headers={"Content-Type": "application/json", "Content-Encoding": coding}
        )
    assert response.status_code in (413, 415)
    assert grown.mib < 50


def test_a8_six_hundred_slow_bodies_hold_up_nobody(alone: Alone) -> None:
    links = []
    try:
        for _ in range(600):
            links.append(connect(alone.api))
            links[-1].sendall(head(alone.api, "POST", CHAT, TYPE, "Content-Length: 1000") + b"{")
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert alone.api.post(CHAT, chat("x")).status_code == 200
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 1
    finally:
        for link in links:
            link.close()


def test_a8_pipelined_requests_are_bounded_whether_or_not_their_answers_are_read(alone: Alone) -> None:
    """Half a million of them, sent without a key, once took a gigabyte."""
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    for batch, times in ((20_000, 20), (90, 2_000)):
        with connect(alone.api) as link, Grown(alone.process) as grown:
            link.settimeout(3)
            poured(link, request * batch, times)
        assert grown.mib < 60, batch
    with connect(alone.api) as link:
        link.sendall(request * 50)
        said = b""
        while said.count(b"HTTP/1.1 200") < 50:
            said += answer(link)
    assert alone.api.http.get("/livez").status_code == 200


def test_a8_followers_are_bounded_also_when_they_come_all_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound was looked at before it was counted: of 400 at once 366 passed a bound of 200."""
    monkeypatch.setattr("orchestrator.api.progress.MOST_OF_TENANT", 5)
    batch = create(api, [row(str(n), chat(f"[[sleep:4]] {n}")) for n in range(40)])
    links = [connect(api) for _ in range(40)]
    try:
        for link in links:
            link.sendall(head(api, "GET", f"/v1/batches/{batch}/events"))
        said = [answer(link)[9:12] for link in links]
    finally:
        for link in links:
            link.close()
    assert sorted(said) == [b"200"] * 5 + [b"503"] * 35
    api.openai.batches.cancel(batch)

    def follows() -> bool:
        with connect(api) as link:
            link.sendall(head(api, "GET", f"/v1/batches/{batch}/events", "Connection: close"))
            return answer(link)[9:12] == b"200"

    until(follows, 15, "the places of those who left are free again")
    assert api.stack.doctor() == []
