"""Documents by URL: only of hosts that are allowed, only from addresses that were checked, and bounded in every way."""

from __future__ import annotations

import socket
import ssl
import time
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.documents.inputs import Wanted, check, inputs_of, name_of, web
from orchestrator.errors import InvalidRequest
from orchestrator.webhooks.fetch import Fetcher
from tests import tls
from tests.documents.inputs.servers import answer, serving
from tests.documents.inputs.taken import MIB, taken, why
from tests.tls import Certificates
from tests.webhooks.receivers import names, watching

OWN = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
HOSTS = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def get() -> Fetcher:
    return Fetcher(OWN)


def told(place: str, spool: Path, get: Fetcher, hosts: tuple[str, ...] = HOSTS) -> str:
    """What is said of the one document of a URL that cannot be read."""
    (message,) = why(place, spool, hosts=hosts, get=get)
    assert list(spool.iterdir()) == []
    return message


def test_a_document_is_fetched_when_it_is_opened_and_once(spool: Path, get: Fetcher) -> None:
    content = bytes(range(256)) * 20_000
    with serving(answer(body=content)) as server:
        place = f"http://127.0.0.1:{server.port}/docs/a%20b.pdf?token=s3cret#page=2"
        check(Wanted(place, hosts=HOSTS))
        inputs = inputs_of(Wanted(place, hosts=HOSTS), spool, get)
        assert server.asked == []
        (one,) = inputs
        for _ in range(2):
            with one.open() as stream:
                assert stream.read() == content
        one.done()
    assert one.name == "127.0.0.1/docs/a b.pdf"
    assert server.asked == ["/docs/a%20b.pdf?token=s3cret"]
    assert server.headers[0]["host"] == f"127.0.0.1:{server.port}"
    assert "authorization" not in server.headers[0]


def test_a_list_has_one_document_a_line_and_a_bad_one_stops_no_other(tmp_path: Path, spool: Path, get: Fetcher) -> None:
    with serving(answer(body=b"words")) as server:
        good = f"http://127.0.0.1:{server.port}"
        lines = [
            f"{good}/a.txt", "", "# a note", "https://example.com/b.txt", f"http://user:s3cret@127.0.0.1:{server.port}/c",
            "no url", "ftp://127.0.0.1/d", f"{good}/{'x' * 3_000}", f"{good}/e.txt",
        ]  # fmt: skip
        (tmp_path / "urls.txt").write_text("\r\n".join(lines))
        place = f"@{tmp_path}/urls.txt"
        check(Wanted(place, hosts=HOSTS))
        found = taken(place, spool, hosts=HOSTS, get=get)
        messages = why(place, spool, hosts=HOSTS, get=get)
    assert found == [
        ("127.0.0.1/a.txt", b"words"), *((f"urls.txt#{line}", "unreadable_file") for line in range(4, 9)), ("127.0.0.1/e.txt", b"words"),
    ]  # fmt: skip
    assert not any("s3cret" in message for message in messages)
    assert all(message.count(".") >= 2 for message in messages), "cause and remedy"


def test_a_list_without_urls_says_so(tmp_path: Path, spool: Path, get: Fetcher) -> None:
    (tmp_path / "urls.txt").write_text("\n# none\n")
    assert taken(f"@{tmp_path}/urls.txt", spool, hosts=HOSTS, get=get) == [("urls.txt", "empty_file")]


@pytest.mark.parametrize(
    "hosts, url, fits",
    [
        (("example.com",), "https://example.com/a", True),
        (("example.com",), "https://EXAMPLE.com./a", True),
        (("Example.COM.",), "https://example.com/a", True),
        (("example.com",), "https://www.example.com/a", False),
        (("example.com",), "https://example.com.evil.net/a", False),
        (("example.com",), "https://notexample.com/a", False),
        (("*.example.com",), "https://a.b.example.com/a", True),
        (("*.example.com",), "https://example.com/a", False),
        (("*.example.com",), "https://badexample.com/a", False),
        (("bücher.example",), "https://xn--bcher-kva.example/a", True),
        (("example.com",), "https://example.com@evil.net/a", False),
        (("example.com",), "https://evil.net#@example.com/a", False),
        (("example.com",), "https://evil.net\\@example.com/a", False),
        (("example.com",), "https://user:pw@example.com/a", False),
        (("example.com",), "https:///a", False),
        ((), "https://example.com/a", False),
    ],
)
def test_a_url_whose_host_is_not_allowed_is_refused_at_once(hosts: tuple[str, ...], url: str, fits: bool) -> None:
    if fits:
        check(Wanted(url, hosts=hosts))
        return
    with pytest.raises(InvalidRequest) as refused:
        check(Wanted(url, hosts=hosts))
    assert "pw" not in refused.value.message


@pytest.mark.parametrize(
    "host", ["*", "*.", "", "https://example.com", "example.com/x", "a*b.com", "*.*.com", "example.com:443"]
)
def test_a_host_that_admits_none_or_all_is_refused_at_once(host: str) -> None:
    with pytest.raises(InvalidRequest, match="no name of a host"):
        check(Wanted("https://example.com/a", hosts=(host,)))


def test_a_list_needs_hosts_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("https://example.com/")
    with pytest.raises(InvalidRequest, match="No host is allowed"):
        check(Wanted(f"@{tmp_path}/urls.txt"))
    with pytest.raises(InvalidRequest, match="does not exist"):
        check(Wanted(f"@{tmp_path}/none.txt", hosts=HOSTS))


PRIVATE = [
    "http://127.0.0.1:{}/x", "http://localhost:{}/x", "http://127.1:{}/x", "http://2130706433:{}/x", "http://0x7f000001:{}/x",
    "http://0.0.0.0:{}/x", "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", "http://10.0.0.1/x",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_a15_a_private_address_is_never_connected_to_although_its_host_is_allowed(url: str, spool: Path) -> None:
    with serving(answer(body=b"secret")) as server:
        place = url.format(server.port)
        host = place.split("/")[2].split(":")[0]
        with watching() as watch:
            message = told(place, spool, Fetcher(), (host,))
        assert server.asked == []
        assert watch.connected == []
    assert "public addresses" in message


def test_a15_a_name_that_stands_for_a_private_address_too_is_refused(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", names({"docs.example.com": ["93.184.216.34", "127.0.0.1"]}))
    with watching() as watch:
        message = told("https://docs.example.com/a", spool, Fetcher(), ("docs.example.com",))
    assert watch.connected == []
    assert "public addresses" in message


def test_a15_a_name_that_changes_its_mind_is_asked_once_and_the_checked_address_taken(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer(body=b"secret")) as server:
        asked: list[str] = []
        first = names({"docs.example.com": ["127.0.0.2"]}, asked)
        then = names({"docs.example.com": ["127.0.0.1"]}, asked)

        def changing(host: str, port: int, **how: Any) -> list[Any]:
            return (then if asked else first)(host, port, **how)

        monkeypatch.setattr(socket, "getaddrinfo", changing)
        public = Fetcher((ip_network("127.0.0.2/32"),))
        with watching() as watch:
            told(f"http://docs.example.com:{server.port}/a", spool, public, ("docs.example.com",))
        assert asked == ["docs.example.com"]
        assert [address[0] for address in watch.connected] == ["127.0.0.2"]
        assert server.asked == []


LED_TO = [
    ("http://169.254.169.254/latest/", "host '169.254.169.254'"), ("http://evil.example/x", "host 'evil.example'"),
    ("//evil.example/x", "host 'evil.example'"), ("file:///etc/passwd", "https://"), ("http://user:pw@127.0.0.1/", "no password"),
    ("ftp://127.0.0.1/x", "https://"), ("http://127.0.0.1:22/", "public addresses"), ("http://[", "not followed"),
]  # fmt: skip


@pytest.mark.parametrize("location, said", LED_TO)
def test_a15_a_redirect_is_judged_as_the_url_itself(location: str, said: str, spool: Path, get: Fetcher) -> None:
    with serving(answer(302, Location=location)) as server, watching() as watch:
        message = told(f"http://127.0.0.1:{server.port}/x", spool, get)
        assert [address[1] for address in watch.connected] == [server.port]
    assert said in message
    assert "pw@" not in message


def test_a15_a_redirect_to_a_private_address_of_an_allowed_host_is_not_followed(spool: Path, get: Fetcher) -> None:
    with serving(answer(302, Location="http://169.254.169.254/latest/")) as server, watching() as watch:
        message = told(f"http://127.0.0.1:{server.port}/x", spool, get, (*HOSTS, "169.254.169.254"))
        assert [address[1] for address in watch.connected] == [server.port]
    assert "public addresses" in message


@pytest.mark.parametrize("hops, fits", [(3, True), (4, False)])
def test_redirects_are_followed_three_times_at_most(hops: int, fits: bool, spool: Path, get: Fetcher) -> None:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.path.removeprefix("/"))
        (answer(307, Location=f"/{left - 1}") if left else answer(body=b"there"))(handler)

    with serving(behave) as server:
        place = f"http://localhost:{server.port}/{hops}"
        if fits:
            assert taken(place, spool, hosts=HOSTS, get=get) == [("localhost/3", b"there")]
        else:
            assert "over 3 times" in told(place, spool, get)
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    "status, said",
    [
        (400, "status 400"), (401, "refuses"), (403, "refuses"), (404, "no such document"), (410, "no such document"),
        (429, "later"), (500, "later"), (503, "later"), (204, "status 204"), (206, "status 206"), (304, "status 304"),
    ],
)  # fmt: skip
def test_each_status_that_brings_no_document_says_what_to_do(status: int, said: str, spool: Path, get: Fetcher) -> None:
    with serving(answer(status)) as server:
        message = told(f"http://127.0.0.1:{server.port}/x?token=s3cret", spool, get)
    assert said in message
    assert f"status {status}" in message
    assert "s3cret" not in message


def test_an_empty_document_and_one_that_is_packed_say_so(spool: Path, get: Fetcher) -> None:
    with serving(answer()) as server:
        assert "empty" in told(f"http://127.0.0.1:{server.port}/x", spool, get)
    with serving(answer(body=b"xxx", Content_Encoding="gzip")) as server:
        assert "packs" in told(f"http://127.0.0.1:{server.port}/x", spool, get)
        assert server.headers[0]["accept-encoding"] == "identity"


def test_a11_a_document_that_says_it_is_too_large_is_not_read(spool: Path, get: Fetcher) -> None:
    with serving(answer(Content_Length=str(65 * MIB))) as server:
        assert "at most" in told(f"http://127.0.0.1:{server.port}/x", spool, get)


@pytest.mark.parametrize("chunk", [b"", b"%x\r\n"])
def test_a11_a_document_without_end_is_cut_off_and_refused(chunk: bytes, spool: Path, get: Fetcher) -> None:
    piece = bytes(MIB)
    given = []

    def behave(handler: BaseHTTPRequestHandler) -> None:
        head = b"transfer-encoding: chunked\r\n" if chunk else b""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        for _ in range(1_000):
            handler.wfile.write((chunk % len(piece) + piece + b"\r\n") if chunk else piece)
            given.append(1)

    with serving(behave) as server:
        assert "at most" in told(f"http://127.0.0.1:{server.port}/x", spool, get)
    assert len(given) < 100


def test_a_document_that_breaks_off_is_refused(spool: Path, get: Fetcher) -> None:
    with serving(answer(body=b"half", Content_Length="8")) as server:
        assert "broke off" in told(f"http://127.0.0.1:{server.port}/x", spool, get)


def test_a_server_that_sends_a_byte_at_a_time_costs_its_time_and_no_more(
    spool: Path, get: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    monkeypatch.setattr(web, "WITHIN_S", 0.6)
    with serving(behave) as server:
        began = time.monotonic()
        assert "in time" in told(f"http://127.0.0.1:{server.port}/x", spool, get)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, b""])
def test_what_is_no_http_says_so(said: bytes, spool: Path, get: Fetcher) -> None:
    with serving(lambda handler: handler.wfile.write(said) and None) as server:
        assert "one of HTTP" in told(f"http://127.0.0.1:{server.port}/x", spool, get)


def test_a_server_that_is_away_and_a_name_that_is_none_say_so(
    spool: Path, get: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer()) as server:
        port = server.port
    assert "cannot be reached" in told(f"http://127.0.0.1:{port}/x", spool, get)
    assert "speak TLS" in _over_tls(spool, get)
    monkeypatch.setattr(socket, "getaddrinfo", names({}))
    assert "no host of that name" in told("https://docs.example.com/x", spool, get, ("docs.example.com",))


def _over_tls(spool: Path, get: Fetcher) -> str:
    with serving(answer()) as server:
        return told(f"https://127.0.0.1:{server.port}/x", spool, get)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return tls.certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("host, fits", [("localhost", True), ("127.0.0.1", False)])
def test_over_tls_only_a_server_with_the_name_s_certificate_gives_a_document(
    host: str, fits: bool, spool: Path, certs: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certs.chain, certs.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certs.authority))
    with serving(answer(body=b"words"), context) as server:
        place = f"https://{host}:{server.port}/x"
        if fits:
            assert taken(place, spool, hosts=HOSTS, get=Fetcher(OWN)) == [("localhost/x", b"words")]
        else:
            assert "certificate is not trusted" in told(place, spool, Fetcher(OWN))
            assert server.asked == []


def test_a15_a_redirect_from_tls_to_none_is_not_followed(
    spool: Path, certs: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certs.chain, certs.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certs.authority))
    with serving(answer(body=b"words")) as plain:
        location = f"http://localhost:{plain.port}/x"
        with serving(answer(302, Location=location), context) as server:
            message = told(f"https://localhost:{server.port}/x", spool, Fetcher(OWN))
        assert plain.asked == []
    assert "from https://" in message


def test_without_something_that_fetches_a_url_is_refused(spool: Path) -> None:
    with pytest.raises(InvalidRequest, match="not fetched here"):
        inputs_of(Wanted("https://example.com/a", hosts=("example.com",)), spool)


@pytest.mark.parametrize(
    "place, name",
    [
        ("https://user:pw@example.com/docs/invoice.pdf?token=s3cret#x", "invoice.pdf"), ("https://example.com", "example.com"),
        ("https://example.com/?token=s3cret", "example.com"), ("@/some/urls.txt", "urls.txt"), ("http://[", "documents"),
        ("https://user:pw@/x?y", "x"),
    ],
)  # fmt: skip
def test_a_batch_is_named_without_what_is_secret(place: str, name: str) -> None:
    assert name_of(Wanted(place)) == name
