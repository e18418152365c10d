"""One delivery against real receivers: what arrives is signed, and whatever a receiver does has an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.webhooks import BatchCompletedWebhookEvent

from orchestrator import __version__
from orchestrator.errors import Broken
from orchestrator.webhooks.address import Pinned, checked_url
from orchestrator.webhooks.line import Line
from orchestrator.webhooks.send import MOST_ANSWER_BYTES, Delivery, Sender, judged
from orchestrator.webhooks.sign import new_secret
from tests.webhooks.receivers import (
    OK,
    OWN,
    PAYLOAD,
    SECRET,
    Receiver,
    entries,
    names,
    read_request,
    receiving,
    unwrapped,
    watching,
)

PATIENCE_S = 0.6
MARGIN_S = 2.0
"""For a machine that is busy."""


@pytest.fixture(scope="module")
def sender() -> Sender:
    return Sender(OWN, timeout_s=PATIENCE_S)


def sent(sender: Sender, receiver: Receiver | int, path: str = "/hook") -> Delivery:
    port = receiver if isinstance(receiver, int) else receiver.port
    return sender.send(f"http://127.0.0.1:{port}{path}", [SECRET], "evt_1", PAYLOAD)


def test_what_arrives_is_the_payload_itself_signed_and_read_by_the_official_client(sender: Sender) -> None:
    with receiving() as receiver:
        assert sent(sender, receiver, "/hook?x=1") == Delivery("delivered", "The receiver took the message (200).", 200)
    asked = receiver.asked[0]
    assert (asked.line, asked.body) == ("POST /hook?x=1 HTTP/1.1", PAYLOAD)
    assert set(asked.headers) == {
        "host", "user-agent", "content-type", "content-length", "connection", "webhook-id", "webhook-timestamp",
        "webhook-signature",
    }  # fmt: skip
    assert asked.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert asked.headers["user-agent"] == f"Rightsize/{__version__}"
    assert isinstance(unwrapped(asked), BatchCompletedWebhookEvent)


def test_a24_each_attempt_has_the_same_id_and_a_moment_of_its_own(sender: Sender) -> None:
    with receiving() as receiver:
        sent(sender, receiver)
        time.sleep(1.1)  # the moment has whole seconds
        sent(sender, receiver)
    first, second = receiver.asked
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "evt_1"
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    unwrapped(second)


def test_a24_a_receiver_with_the_new_secret_and_one_with_the_old_both_verify(sender: Sender) -> None:
    old = new_secret()
    with receiving() as receiver:
        sender.send(f"http://127.0.0.1:{receiver.port}/", [SECRET, old], "evt_1", PAYLOAD)
    unwrapped(receiver.asked[0], SECRET)
    unwrapped(receiver.asked[0], old)


def test_a24_nothing_is_sent_unsigned(sender: Sender) -> None:
    with receiving() as receiver, watching() as watch, pytest.raises(Broken):
        sender.send(f"http://127.0.0.1:{receiver.port}/", [], "evt_1", PAYLOAD)
    assert (watch.connected, receiver.connections) == ([], 0)


# Refused addresses: an audit hook of the interpreter sees every connect, and a planted listener hears none.


def test_a15_the_watch_sees_a_connection_where_there_is_one(sender: Sender) -> None:
    with receiving() as receiver, watching() as watch:
        assert sent(sender, receiver).delivered
    assert watch.connected == [("127.0.0.1", receiver.port)]
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/", "https://127.1:{port}/", "https://2130706433:{port}/", "https://0x7f.1:{port}/",
        "https://0177.1:{port}/", "https://0.0.0.0:{port}/", "https://0:{port}/", "https://[::1]:{port}/", "https://[::]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/", "https://[::ffff:7f00:1]:{port}/", "https://[64:ff9b::7f00:1]:{port}/",
        "https://[2002:7f00:1::]:{port}/", "https://localhost:{port}/", "https://user@localhost:{port}/",
        "https://169.254.169.254/latest/meta-data/", "https://[fd00::1]/", "https://10.0.0.1/", "https://100.100.100.200/",
        "http://127.0.0.1:{port}/", "http://localhost:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/_x",
        "data:text/plain,x", "https://localhost:6379/", "https://localhost:5432/", "https://localhost:{port}/#x",
        "https://localhost:{port}/" + 2048 * "x",
    ],
)  # fmt: skip
def test_a15_a_refused_address_is_never_connected_to(url: str) -> None:
    with receiving() as receiver, watching() as watch:
        found = Sender(timeout_s=PATIENCE_S).send(url.format(port=receiver.port), [SECRET], "evt_1", PAYLOAD)
    assert (found.code, found.delivered) == ("address_refused", False)
    assert watch.connected == []
    assert receiver.connections == 0


def test_a15_a_redirect_to_a_private_address_is_not_followed(sender: Sender) -> None:
    with receiving() as planted:
        answer = (
            f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{planted.port}/\r\ncontent-length: 0\r\n\r\n".encode()
        )
        with receiving(answer) as receiver, watching() as watch:
            found = sent(sender, receiver)
    assert (found.code, found.http_status) == ("redirect", 302)
    assert watch.connected == [("127.0.0.1", receiver.port)]
    assert planted.connections == 0


def test_a15_a_name_that_changes_its_mind_is_not_asked_twice_and_checked_anew_for_the_next_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    with receiving() as receiver, receiving(host="127.0.0.2", port=receiver.port) as planted:
        real = socket.getaddrinfo

        def rebinding(host: str, port: int, **how: Any) -> list[Any]:
            """First the receiver's address, then that of something internal."""
            if how.get("flags", 0) & socket.AI_NUMERICHOST:
                return real(host, port, **how)
            asked.append(host)
            return entries(["127.0.0.1" if len(asked) == 1 else "127.0.0.2"], port)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        sender = Sender((ip_network("127.0.0.1/32"),), timeout_s=5.0)
        url = f"http://hooks.example.com:{receiver.port}/"
        with watching() as watch:
            assert sender.send(url, [SECRET], "evt_1", PAYLOAD).delivered
            assert asked == ["hooks.example.com"]
            assert watch.connected == [("127.0.0.1", receiver.port)]
            assert sender.send(url, [SECRET], "evt_1", PAYLOAD).code == "address_refused"
        assert watch.connected == [("127.0.0.1", receiver.port)]
    assert receiver.asked[0].headers["host"] == f"hooks.example.com:{receiver.port}"
    assert planted.connections == 0


def test_a15_no_proxy_of_the_environment_is_used(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver, watching() as watch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert sent(Sender(OWN), receiver).delivered
    assert watch.connected == [("127.0.0.1", receiver.port)]
    assert proxy.connections == 0


def test_a_cookie_is_not_kept(sender: Sender) -> None:
    with receiving(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n") as receiver:
        sent(sender, receiver)
        sent(sender, receiver)
    assert "cookie" not in receiver.asked[1].headers


# Names.


def test_a_name_that_is_not_known_or_not_answered_for_is_a_failed_delivery(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault, code in ((socket.EAI_NONAME, "name_unknown"), (socket.EAI_AGAIN, "name_unanswered")):
        monkeypatch.setattr(socket, "getaddrinfo", names({}, fault=fault))
        with watching() as watch:
            assert sender.send("https://hooks.example.com/", [SECRET], "evt_1", PAYLOAD).code == code
        assert watch.connected == []


def test_a_second_address_is_tried_where_the_first_does_not_answer() -> None:
    with receiving(host="127.0.0.2") as receiver:
        target = checked_url(f"http://hooks.example.com:{receiver.port}/", OWN)
        found = Pinned(target, tuple(ip_address(text) for text in ("::1", "127.0.0.1", "127.0.0.2")))
        with watching() as watch:
            Line.to(found, time.monotonic() + 5, 10).close()
    assert [address[0] for address in watch.connected][-2:] == ["127.0.0.1", "127.0.0.2"]


# Receivers that are slow, huge, or broken. Each of them has one time bound for everything.


def dripping(start: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Sends a byte or so at a time, for ever, each well before any timeout of a read."""

    def behave(caller: socket.socket, over: threading.Event) -> None:
        if not start.startswith(b"\x16"):
            read_request(caller)
        caller.sendall(start)
        while not over.wait(0.05):
            caller.sendall(drop)

    return behave


def mute(caller: socket.socket, over: threading.Event) -> None:
    over.wait(20)


@pytest.mark.parametrize(
    "scheme, behave",
    [
        ("http", mute),
        ("https", mute),
        ("http", dripping(b"HTTP/1.1 200 OK\r\nx: ", b"x")),
        ("http", dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n")),
        ("https", dripping(b"\x16\x03\x03\x40\x00", b"\x02")),
    ],
    ids=["no answer", "no handshake", "headers for ever", "interim answers for ever", "handshake for ever"],
)
def test_a24_a_receiver_that_is_slow_in_any_way_costs_its_time_bound_and_no_more(
    scheme: str, behave: Any, sender: Sender
) -> None:
    with receiving(behave) as receiver:
        began = time.monotonic()
        found = sender.send(f"{scheme}://127.0.0.1:{receiver.port}/", [SECRET], "evt_1", PAYLOAD)
        took_s = time.monotonic() - began
    assert (found.code, found.delivered) == ("timeout", False)
    assert PATIENCE_S * 0.8 < took_s < PATIENCE_S + MARGIN_S


def test_a24_a_receiver_that_never_reads_costs_its_time_bound_and_no_more(sender: Sender) -> None:
    payload = b'"' + b"x" * 64 * 1024 * 1024 + b'"'
    with receiving(mute) as receiver:
        began = time.monotonic()
        found = sender.send(f"http://127.0.0.1:{receiver.port}/", [SECRET], "evt_1", payload)
        took_s = time.monotonic() - began
    assert found.code == "timeout"
    assert took_s < PATIENCE_S + MARGIN_S


def test_a24_a_body_that_never_ends_changes_nothing_about_the_status_and_is_not_waited_for() -> None:
    with receiving(dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x")) as receiver:
        began = time.monotonic()
        assert sent(Sender(OWN, timeout_s=30.0), receiver).delivered
        assert time.monotonic() - began < 1.0 + MARGIN_S


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n80000000\r\n"]
)
def test_a15_of_an_answer_that_is_too_large_only_the_beginning_is_read(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Line] = []
    monkeypatch.setattr(Line, "close", lambda line: (lines.append(line), line._socket.close()))

    def pour(caller: socket.socket, over: threading.Event) -> None:
        read_request(caller)
        caller.sendall(head)
        while not over.is_set():
            caller.sendall(b"x" * 65536)

    with receiving(pour) as receiver:
        began = time.monotonic()
        assert sent(Sender(OWN, timeout_s=30.0), receiver).delivered
        assert time.monotonic() - began < MARGIN_S
    assert {line.read_bytes for line in lines} == {MOST_ANSWER_BYTES}


@pytest.mark.parametrize(
    "answer, code",
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 O", "bad_answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * MOST_ANSWER_BYTES + b"\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 5000, "bad_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nx", "delivered"),
        (b"HTTP/1.0 204 No Content\r\n\r\n", "delivered"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status_404"),
        (b"HTTP/1.1 500 Oh\r\nretry-after: 5\r\n\r\n", "status_500"),
    ],
)
def test_whatever_comes_back_is_a_delivery_with_a_code(answer: bytes, code: str, sender: Sender) -> None:
    with receiving(answer) as receiver:
        found = sent(sender, receiver)
    assert (found.code, found.delivered) == (code, code == "delivered")
    assert found.retry_after_s is None
    assert found.detail.endswith(".")


def test_a_receiver_that_hangs_up_at_once_or_is_not_there_is_a_failed_delivery(sender: Sender) -> None:
    with receiving(lambda _caller, _over: None) as receiver:
        assert sent(sender, receiver).code == "disconnected"
    found = sent(sender, receiver)  # it is no longer there
    assert found == Delivery("connect_failed", "The receiver cannot be reached: Connection refused.")


def test_gone_means_that_the_endpoint_is_to_be_disabled(sender: Sender) -> None:
    with receiving(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n") as receiver:
        found = sent(sender, receiver)
    assert (found.code, found.gone, found.delivered) == ("status_410", True, False)
    assert not judged(404).gone


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_is_busy_says_how_long_and_is_believed_up_to_an_hour(status: int, sender: Sender) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for said, expected in (
        ("7", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("999999", 3600.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
    ):
        assert judged(status, said).retry_after_s == expected
    answer = f"HTTP/1.1 {status} Busy\r\nRetry-After: {moment}\r\ncontent-length: 0\r\n\r\n".encode()
    with receiving(answer) as receiver:
        found = sent(sender, receiver)
    assert found.code == f"status_{status}"
    assert found.retry_after_s is not None
    assert 90 < found.retry_after_s <= 100


@given(
    st.integers(200, 999), st.text() | st.from_regex(r"\A(Mon, )?\d{1,6} Jan \d{1,5} \d\d:\d\d(:\d\d)? [+-]?\d{0,9}\Z")
)
def test_any_status_and_any_retry_after_is_judged(status: int, said: str) -> None:
    found = judged(status, said)
    assert found.delivered == (status < 300)
    assert found.retry_after_s is None or 0 <= found.retry_after_s <= 3600


def test_no_detail_quotes_the_url_the_secret_or_the_answer(sender: Sender) -> None:
    answers = [OK, b"HTTP/1.1 500 s3cret\r\nx: s3cret\r\n\r\ns3cret", b"s3cret", b""]
    for answer in answers:
        with receiving(answer) as receiver:
            found = sent(sender, receiver, "/s3cret?token=s3cret")
        assert "s3cret" not in repr(found)
        assert SECRET not in repr(found)
    assert "s3cret" not in repr(Sender().send("https://u:s3cret@127.0.0.1:1/s3cret", [SECRET], "evt_1", PAYLOAD))
