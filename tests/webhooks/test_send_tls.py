"""Deliveries over TLS: the right name with a trusted certificate, or nothing is said."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.webhooks.send import Delivery, Sender
from tests import tls
from tests.tls import Certificates
from tests.webhooks.receivers import OK, OWN, PAYLOAD, SECRET, receiving, unwrapped, watching


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return tls.certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serving(certs: Certificates) -> ssl.SSLContext:
    """What a receiver with a certificate for `localhost` speaks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certs.chain, certs.key)
    return context


@pytest.fixture
def trusting(certs: Certificates, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Sender]:
    """A sender whose system trusts one authority."""

    def made(authority: Path) -> Sender:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        return Sender(OWN, timeout_s=5.0)

    return made


def test_over_tls_the_name_is_asked_for_and_checked_and_the_host_header_has_it(
    trusting: Callable[[Path], Sender], serving: ssl.SSLContext, certs: Certificates
) -> None:
    with receiving(context=serving) as receiver, watching() as watch:
        found = trusting(certs.authority).send(f"https://localhost:{receiver.port}/hook", [SECRET], "evt_1", PAYLOAD)
        assert found.delivered, found
    assert watch.connected[-1] == ("127.0.0.1", receiver.port)
    assert watch.looked_up == ["localhost"] * 2  # once read as an address, which asks nobody, and once as a name
    assert receiver.names == ["localhost"]
    assert receiver.asked[0].headers["host"] == f"localhost:{receiver.port}"
    unwrapped(receiver.asked[0])


@pytest.mark.parametrize("fault", ["another authority", "no authority", "another name"])
def test_a_receiver_with_a_certificate_that_is_not_trusted_is_told_nothing(
    fault: str, trusting: Callable[[Path], Sender], serving: ssl.SSLContext, certs: Certificates
) -> None:
    sender = {
        "another authority": lambda: trusting(certs.stranger),
        "no authority": lambda: Sender(OWN, timeout_s=5.0),
        "another name": lambda: trusting(certs.authority),
    }[fault]()
    host = "127.0.0.1" if fault == "another name" else "localhost"
    with receiving(context=serving) as receiver:
        found = sender.send(f"https://{host}:{receiver.port}/", [SECRET], "evt_1", PAYLOAD)
    assert found.code == "tls_failed"
    assert found.detail.startswith("The receiver's certificate is not trusted: ")
    assert receiver.asked == []


def test_a_receiver_that_speaks_no_tls_is_told_nothing() -> None:
    heard: list[bytes] = []

    def listen(caller: socket.socket, _over: threading.Event) -> None:
        heard.append(caller.recv(65536))
        caller.sendall(OK)

    with receiving(listen) as receiver:
        found = Sender(OWN).send(f"https://127.0.0.1:{receiver.port}/", [SECRET], "evt_1", PAYLOAD)
    assert (found.code, "TLS 1.2" in found.detail) == ("tls_failed", True)
    assert b"webhook" not in heard[0]


def test_one_sender_serves_many_threads(
    trusting: Callable[[Path], Sender], serving: ssl.SSLContext, certs: Certificates
) -> None:
    found: list[Delivery] = []
    with receiving(context=serving) as receiver:
        sender = trusting(certs.authority)
        url = f"https://localhost:{receiver.port}/"
        threads = [
            threading.Thread(
                target=lambda number=number: found.append(sender.send(url, [SECRET], f"evt_{number}", PAYLOAD))
            )
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert [one.code for one in found] == ["delivered"] * 16
    assert {asked.headers["webhook-id"] for asked in receiver.asked} == {f"evt_{number}" for number in range(16)}
