"""What can go wrong with blobs in a bucket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.blobs import BlobStore, open_blobs, s3
from orchestrator.errors import InvalidConfig, RightsizeError, ServiceUnavailable
from orchestrator.settings import Settings
from tests import tls
from tests.blobs.places import LARGE, listed
from tests.s3 import S3Server, serving
from tests.stack import until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds for what would take a minute."""
    monkeypatch.setattr(s3, "ANSWER_WITHIN_S", 0.5)
    monkeypatch.setattr(s3, "CARRY_WITHIN_S", 1.0)
    monkeypatch.setattr(s3, "RETRY_WITHIN_S", 0.7)


def at(
    port: int, monkeypatch: pytest.MonkeyPatch, name: str = "bucket", scheme: str = "http", host: str = "127.0.0.1"
) -> BlobStore:
    """A bucket of the server on that port."""
    for variable, value in S3Server(port).environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://{host}:{port}")
    return open_blobs(Settings.load({"blob_url": f"s3://{name}"}))


def all_fail(blobs: BlobStore, remedy: str, within_s: float) -> None:
    """Every verb raises ServiceUnavailable with the remedy, and in time."""

    def write() -> None:
        with blobs.writing("inputs/a") as file:
            file.write(LARGE)

    ways: list[Callable[[], object]] = [
        lambda: blobs.put("inputs/a", b"x"),
        lambda: blobs.put("inputs/a", LARGE),
        write,
        lambda: blobs.get("inputs/a"),
        lambda: blobs.size("inputs/a"),
        lambda: blobs.reading("inputs/a").__enter__(),
        lambda: list(blobs.pieces("inputs/a", 0, 1)),
        lambda: blobs.delete("inputs/a"),
        lambda: list(blobs.keys("inputs")),
        blobs.check,
    ]
    for way in ways:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match=remedy):
            way()
        assert time.monotonic() - began < within_s


@pytest.mark.fault
def test_a_server_that_is_away_is_said_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    all_fail(at(port, monkeypatch), "AWS_ENDPOINT_URL", within_s=10)


@pytest.mark.fault
def test_a_server_that_never_answers_is_given_up(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        all_fail(at(silent.getsockname()[1], monkeypatch), "AWS_ENDPOINT_URL", within_s=10)


def test_no_request_may_take_longer_than_a_minute(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs: Any = at(server.port, monkeypatch)
    for client, within in ((blobs._prompt, "5s"), (blobs._patient, "1m")):
        assert (client.client_options["connect_timeout"], client.client_options["timeout"]) == ("3s", within)
        assert client.retry_config["max_retries"] == s3.RETRIES
        assert client.retry_config["retry_timeout"] == timedelta(seconds=s3.RETRY_WITHIN_S)


@pytest.mark.parametrize(
    "status, remedy",
    [(403, "AWS_SECRET_ACCESS_KEY"), (401, "AWS_SECRET_ACCESS_KEY"), (507, "is full"), (500, "AWS_ENDPOINT_URL")],
)
def test_what_a_server_refuses_is_told_with_its_remedy(
    status: int, remedy: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - so http.server looks for them

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Refuses) as refusing:
        thread = threading.Thread(target=refusing.serve_forever)
        thread.start()
        try:
            all_fail(at(refusing.server_port, monkeypatch), remedy, within_s=10)
        finally:
            refusing.shutdown()
            thread.join(10)


def test_a_bucket_that_is_not_there_is_told_and_is_no_missing_file(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = at(server.port, monkeypatch, name="no-such-bucket")
    ways: list[Callable[[], object]] = [
        lambda: blobs.put("inputs/a", b"x"),
        lambda: blobs.put("inputs/a", LARGE),
        lambda: blobs.get("inputs/a"),
        lambda: list(blobs.keys("inputs")),
        blobs.check,
    ]
    for way in ways:
        with pytest.raises(ServiceUnavailable, match="There is no bucket for s3://no-such-bucket"):
            way()


@pytest.mark.fault
def test_a_server_that_goes_in_the_middle_breaks_a_reader_and_a_writer_with_the_remedy(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as own:
        blobs = at(own.port, monkeypatch, own.new_bucket())
        blobs.put("inputs/a", LARGE)
        pieces = blobs.pieces("inputs/a", 0, len(LARGE))
        assert next(pieces)
        reading = blobs.reading("inputs/a")
        reader = reading.__enter__()
        assert reader.readline()
        writing = blobs.writing("inputs/b")
        writing.__enter__().write(LARGE)
    until(lambda: refuses(own.port), 10)
    broken: list[RightsizeError] = []
    for way in (lambda: next(pieces), reader.read, lambda: writing.__exit__(None, None, None)):
        with pytest.raises(ServiceUnavailable, match="AWS_ENDPOINT_URL") as raised:
            way()
        broken.append(raised.value)
    assert len(broken) == 3


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(
    server: S3Server, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tls.certificates(tmp_path)
    name = server.new_bucket()
    with tls.in_front_of(server.port, certs) as port:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certs.authority))
        blobs = at(port, monkeypatch, name, "https", tls.NAME)
        blobs.check()
        blobs.put("inputs/a", b"over TLS")
        assert blobs.get("inputs/a") == b"over TLS"
        for authority, host in ((certs.stranger, tls.NAME), (certs.authority, "127.0.0.1")):
            monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
            with pytest.raises(ServiceUnavailable, match="AWS_CA_BUNDLE"):
                at(port, monkeypatch, name, "https", host).check()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(InvalidConfig, match="No such file"):
        at(port, monkeypatch, name, "https")


@pytest.mark.parametrize(
    "url",
    ["", "s3://", "s3:///prefix", "S3://bucket", "/srv/blobs", "file:///srv/blobs", "http://bucket", "gs://bucket", "s3://b",
     "s3://key:s3cret@bucket/prefix", "s3://bucket/../other", "s3://bucket//x", "s3://bucket/a b", "s3://bucket?region=x",
     "s3://Bucket"],
)  # fmt: skip
def test_a_url_that_names_no_bucket_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidConfig, match="s3://BUCKET/PREFIX") as refused:
        s3.S3Blobs(url)
    assert "s3cret" not in refused.value.message


def test_several_prefixes_of_one_bucket_do_not_see_each_other(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = server.new_bucket()
    stores = [at(server.port, monkeypatch, f"{name}{path}") for path in ("", "/a", "/a/b/")]
    for number, blobs in enumerate(stores):
        blobs.put("inputs/x", b"%d" % number)
    assert [blobs.get("inputs/x") for blobs in stores] == [b"0", b"1", b"2"]
    stores[0].delete("inputs/x")
    assert [listed(blobs) for blobs in stores] == [set(), {"inputs/x"}, {"inputs/x"}]
    assert all(one != other for one, other in pairwise([blobs.place for blobs in stores]))
