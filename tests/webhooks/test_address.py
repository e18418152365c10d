"""Which addresses webhooks may go to: none that is not public, however it is written, and never a second lookup."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.webhooks.address import MOST_LOOKUPS, REFUSED_PORTS, Target, checked_url, lookup, pinned, resolve
from orchestrator.webhooks.networks import NAT64, is_public
from tests.webhooks.receivers import entries, names, watching

OWN = (ip_network("127.0.0.0/8"),)

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::1",
    "2002:808:808::1", "2001:0:808:808::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1", "100::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888",
          "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a15_an_address_that_is_not_public_is_refused_before_anything_is_looked_up(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with watching() as watch, pytest.raises(InvalidRequest, match="public addresses only"):
        checked_url(f"https://{host}/hook")
    assert watch.connected == []


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.1",
        "127.1",
        "0",
        "0x0",
        "2852039166",
        "0xa9fea9fe",
        "0251.0xfe.43518",
        "167772161",
    ],
)
def test_a15_an_address_in_another_notation_is_recognised_by_the_parser_of_the_connection(host: str) -> None:
    with pytest.raises(InvalidRequest, match="public addresses only"):
        checked_url(f"https://{host}/hook")


@pytest.mark.parametrize("host", ["0177.0.0.1", "127.0.0.1.", "１２７.0.0.1", "①②⑦.0.0.1", "ⓛocalhost", "%31%32%37.0.0.1",
                                  "localhost.", "*", "", "[fe80::1%25eth0]", "a..b", "-a.com", "a" * 64 + ".com", "h;x", "good.com\\.x",
                                  ".".join(["a" * 60] * 5), "[::1", "]", "[127.0.0.1]", "<broadcast>"])  # fmt: skip
def test_a15_a_host_that_two_parsers_could_read_differently_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot be read|valid host name|public addresses only"):
        checked_url(f"https://{host}/hook")


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "file:///etc/passwd", "gopher://example.com:70/_x", "data:text/plain,x",
                                 "ftp://example.com/", "ws://example.com/", "javascript:alert(1)", "//example.com/", "example.com",
                                 "", " https://example.com/", "https", "redis://example.com"])  # fmt: skip
@pytest.mark.parametrize("allowed", [(), OWN])
def test_a15_only_https_is_spoken(url: str, allowed: Any) -> None:
    if allowed and url.startswith("http:"):
        with pytest.raises(InvalidRequest, match="must begin with https://"):
            pinned(checked_url(url, allowed), (ip_address("8.8.8.8"),), allowed)
    else:
        with pytest.raises(InvalidRequest, match="must begin with https://"):
            checked_url(url, allowed)


@pytest.mark.parametrize(
    "port", [0, 22, 25, 53, 110, 389, 445, 465, 3306, 5432, 6379, 6380, 9200, 11211, 27017, 65_536, 99_999]
)
@pytest.mark.parametrize("host", ["hooks.example.com", "127.0.0.1"])
def test_a15_ports_of_databases_mail_and_shells_are_refused_also_in_an_allowed_network(host: str, port: int) -> None:
    with pytest.raises(InvalidRequest, match=f"port {port}"):
        checked_url(f"https://{host}:{port}/", OWN)


@pytest.mark.parametrize("port", [80, 443, 1024, 8080, 8443, 65_535])
def test_a_receiver_may_listen_on_any_other_port(port: int) -> None:
    assert port not in REFUSED_PORTS
    assert checked_url(f"https://hooks.example.com:{port}/").port == port


@pytest.mark.parametrize(
    "url, why",
    [
        ("https://user@hooks.example.com/", "no user"),
        ("https://user:word@hooks.example.com/", "no user"),
        ("https://hooks.example.com\\@127.0.0.1/", "no user"),
        ("https://hooks.example.com/#part", "no fragment"),
        ("https://hooks.example.com/#", "no fragment"),
        ("https://hooks.example.com/" + "x" * 2048, "at most 2048 characters"),
        ("https://hooks.example.com/\r\nhost: 127.0.0.1", "cannot be read"),
        ("https://hooks.example.com/\ud800", "cannot be read"),
        ("https://hooks.example.com:port/", "cannot be read"),
    ],
)
def test_a15_what_has_no_place_in_a_url_of_a_receiver_is_refused_with_the_remedy(url: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        checked_url(url)
    assert caught.value.param == "url"


@pytest.mark.parametrize("address", PRIVATE)
def test_a15_a_name_that_stands_for_an_address_that_is_not_public_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names({"hooks.example.com": [address]}))
    with watching() as watch, pytest.raises(InvalidRequest, match="public addresses only") as caught:
        resolve(checked_url("https://hooks.example.com/?token=s3cret"))
    assert watch.connected == []
    assert address not in caught.value.message
    assert "s3cret" not in caught.value.message


def test_a15_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names({"hooks.example.com": [*PUBLIC, "10.0.0.1"]}))
    with pytest.raises(InvalidRequest, match="public addresses only"):
        resolve(checked_url("https://hooks.example.com/"))


def test_a15_localhost_by_name_is_refused_and_allowed_only_where_the_operator_says_so() -> None:
    target = checked_url("https://localhost:8443/hook")
    with pytest.raises(InvalidRequest, match="RIGHTSIZE_WEBHOOK_NETWORKS"):
        resolve(target)
    assert set(resolve(target, (*OWN, ip_network("::1/128"))).addresses) <= {ip_address("127.0.0.1"), ip_address("::1")}


def test_a_name_is_pinned_to_what_was_found_and_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", names({"hooks.example.com": PUBLIC}, asked))
    target = checked_url("https://Hooks.Example.COM/a path?x=é")
    assert asked == []
    found = resolve(target)
    assert asked == ["hooks.example.com"]
    assert found.addresses == tuple(ip_address(text) for text in PUBLIC[:4])
    assert (target.authority, target.path, target.port) == ("hooks.example.com", "/a%20path?x=%C3%A9", 443)


def test_an_international_name_is_kept_and_asked_for_in_ascii() -> None:
    target = checked_url("https://bücher.example/hook")
    assert (target.host, target.authority) == ("xn--bcher-kva.example", "xn--bcher-kva.example")
    assert target.url.isascii()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_allowed_network_may_be_private_and_without_tls(scheme: str, host: str) -> None:
    found = resolve(checked_url(f"{scheme}://{host}:8080/", OWN), OWN)
    assert found.addresses == (ip_address("127.0.0.1"),)


def test_http_is_refused_for_a_name_with_only_one_address_outside_the_allowed_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names({"hooks.example.com": ["127.0.0.1", "8.8.8.8"]}))
    assert resolve(checked_url("https://hooks.example.com/", OWN), OWN).addresses
    with pytest.raises(InvalidRequest, match="must begin with https://"):
        resolve(checked_url("http://hooks.example.com/", OWN), OWN)


def test_a_name_that_does_not_exist_is_told_from_a_name_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = checked_url("https://hooks.example.com/")
    monkeypatch.setattr(socket, "getaddrinfo", names({}))
    with pytest.raises(InvalidRequest, match="does not exist"):
        lookup(target)
    monkeypatch.setattr(socket, "getaddrinfo", names({}, fault=socket.EAI_AGAIN))
    with pytest.raises(ServiceUnavailable, match="name server"):
        lookup(target)


def test_name_servers_that_hang_cost_their_time_bound_and_a_bounded_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, answered = checked_url("https://hooks.example.com/"), threading.Event()

    def hang(*_asked: Any, **_how: Any) -> list[Any]:
        answered.wait(30)
        return entries(["8.8.8.8"])

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    for _ in range(MOST_LOOKUPS + 5):
        with pytest.raises(ServiceUnavailable, match="in time"):
            lookup(target, 0.02)
    assert time.monotonic() - began < 10
    assert len(_lookups()) == MOST_LOOKUPS
    answered.set()
    for thread in _lookups():
        thread.join(10)
    assert lookup(target, 5.0) == (ip_address("8.8.8.8"),)


def _lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "webhook-lookup"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses())
@example(IPv4Address("192.0.0.8"))
@example(IPv6Address("2001:1::1"))
def test_whatever_python_knows_to_be_special_is_not_public(address: IPv4Address | IPv6Address) -> None:
    special = address.is_private or address.is_multicast or address.is_reserved or address.is_link_local
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in NAT64):
        return  # judged by the IPv4 address within, see above
    assert not (is_public(address) and special)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_an_embedded_address_is_as_public_as_itself(within: IPv4Address, prefix: str) -> None:
    assert is_public(IPv6Address(int(IPv6Address(prefix)) + int(within))) == is_public(within)


@given(st.one_of(
    st.text(),
    st.text().map("https://".__add__),
    st.text(alphabet="0123456789abcdefx.:[]%@\\/?# é\u3002").map("https://".__add__),
    st.text().map("https://hooks.example.com/".__add__),
))  # fmt: skip
@example("https://hooks.example.com?x=|{}\u00a0")
def test_any_text_is_refused_or_a_target_that_stays_the_same_when_it_is_read_again(text: str) -> None:
    try:
        target = checked_url(text, OWN)
    except InvalidRequest:
        return
    assert isinstance(target, Target)
    assert checked_url(target.url, OWN) == target
    assert (target.authority + target.path).isascii()
    assert (target.authority + target.path).isprintable()
    assert " " not in target.authority + target.path
