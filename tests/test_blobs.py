"""The blob store, in a folder and in a bucket: one suite for both, then what can go wrong in each."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.blobs import PIECE_BYTES, BlobStore, FolderBlobs, open_blobs, s3
from orchestrator.doctor import _writable
from orchestrator.errors import Broken, InvalidConfig, NotFound, RightsizeError, ServiceUnavailable
from orchestrator.flow.lines import bounded_lines
from orchestrator.settings import MIB, Settings
from tests import tls
from tests.s3 import S3Server, serving
from tests.stack import ROOT, until

LARGE = bytes(range(256)) * (9 * MIB // 256) + b"end"
"""More than one part of an upload, and more than one piece of a download."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serving() as running:
        yield running


@dataclass(frozen=True, slots=True)
class Place:
    """A store, its settings, and how to see whether a dead or failed writer left something."""

    blobs: BlobStore
    settings: Settings
    left_over: Callable[[], list[str]]
    put_strangers: Callable[[], None]


def folder(tmp_path: Path) -> Place:
    settings = Settings.load({"blob_dir": tmp_path / "blobs"})

    def put_strangers() -> None:
        for name in ("UPPER", "._x", ".writing-1"):
            (settings.blobs / "inputs" / name).write_bytes(b"strange")

    return Place(
        open_blobs(settings),
        settings,
        lambda: [path.name for path in settings.blobs.rglob(".writing-*")],
        put_strangers,
    )


def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    name = server.new_bucket()
    settings = Settings.load({"blob_url": f"s3://{name}/some/prefix"})

    def put_strangers() -> None:
        for key in ("inputs/UPPER", "inputs/._x", "inputs/.writing-1"):
            server.put(name, f"some/prefix/{key}")
        server.put(name, "inputs/beside-the-prefix")

    return Place(open_blobs(settings), settings, lambda: server.unfinished(name), put_strangers)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    return folder(tmp_path) if request.param == "folder" else bucket(server, monkeypatch)


@pytest.fixture
def blobs(place: Place) -> BlobStore:
    return place.blobs


def listed(blobs: BlobStore, prefix: str = "inputs") -> set[str]:
    return {one.key for one in blobs.keys(prefix)}


def whole(blobs: BlobStore, key: str) -> bytes:
    return b"".join(blobs.pieces(key, 0, blobs.size(key)))


# Both places


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, s3.SMALL_BYTES + 1, s3.PART_BYTES, len(LARGE)])
def test_what_is_put_comes_back_by_every_way_of_reading(blobs: BlobStore, size: int) -> None:
    data = LARGE[:size]
    blobs.put("inputs/a", data)
    assert blobs.size("inputs/a") == size
    assert blobs.get("inputs/a") == data
    assert whole(blobs, "inputs/a") == data
    with blobs.reading("inputs/a") as file:
        assert file.read() == data
        assert file.read() == b""


def test_a_blob_is_written_in_pieces_and_tells_how_many_bytes_it_has(blobs: BlobStore) -> None:
    with blobs.writing("batches/a/output.jsonl") as file:
        for start in range(0, len(LARGE), 700_001):
            assert file.write(LARGE[start : start + 700_001])
        assert file.tell() == len(LARGE)
    assert hashlib.sha256(blobs.get("batches/a/output.jsonl")).digest() == hashlib.sha256(LARGE).digest()
    with pytest.raises(ValueError):
        file.write(b"more")


def test_a_key_names_nothing_before_its_blob_is_whole(place: Place) -> None:
    with place.blobs.writing("inputs/a") as file:
        file.write(LARGE)
        file.flush()
        assert place.left_over()
        assert listed(place.blobs) == set()
        with pytest.raises(NotFound):
            place.blobs.get("inputs/a")
    assert listed(place.blobs) == {"inputs/a"}
    assert place.left_over() == []


@pytest.mark.parametrize("size", [0, 10, len(LARGE)])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, NotFound])
def test_a_block_that_raises_leaves_nothing_and_its_own_error(
    place: Place, size: int, error: type[BaseException]
) -> None:
    place.blobs.put("inputs/before", b"kept")
    with pytest.raises(error), place.blobs.writing("inputs/a") as file:
        file.write(LARGE[:size])
        raise error("of the block")
    assert place.left_over() == []
    assert listed(place.blobs) == {"inputs/before"}


def test_a_writer_that_is_dropped_leaves_nothing(place: Place) -> None:
    opened = place.blobs.writing("inputs/a")
    opened.__enter__().write(LARGE)
    assert place.left_over()
    del opened
    assert place.left_over() == []
    assert listed(place.blobs) == set()


def test_a_blob_that_is_written_again_is_the_later_one(blobs: BlobStore) -> None:
    blobs.put("inputs/a", b"first, and longer")
    blobs.put("inputs/a", b"second")
    assert blobs.get("inputs/a") == b"second"


def test_lines_are_read_as_they_are_needed(blobs: BlobStore) -> None:
    lines = [b'{"n": %d, "text": "%s"}' % (number, b"\xc3\xa9" * (number % 300)) for number in range(9_000)]
    blobs.put("inputs/a", b"\n".join(lines))
    with blobs.reading("inputs/a") as file:
        assert [line.content for line in bounded_lines(file, MIB)] == lines
        file.seek(-5, os.SEEK_END)
        assert file.tell() == blobs.size("inputs/a") - 5
        assert file.read(3) == lines[-1][-5:-2]
        assert file.read() == lines[-1][-2:]
        file.seek(0)
        assert file.readline() == lines[0] + b"\n"


@pytest.mark.parametrize(
    "start, end", [(0, 0), (0, 1), (7, PIECE_BYTES + 7), (len(LARGE) - 2, len(LARGE)), (1, len(LARGE))]
)
def test_pieces_are_the_range_that_was_asked_for_and_bounded(blobs: BlobStore, start: int, end: int) -> None:
    blobs.put("inputs/a", LARGE)
    pieces = list(blobs.pieces("inputs/a", start, end))
    assert b"".join(pieces) == LARGE[start:end]
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def test_a_blob_that_is_not_there_is_not_found_with_the_reason(blobs: BlobStore) -> None:
    blobs.put("inputs/a", b"x")
    ways: list[Callable[[str], object]] = [
        blobs.get,
        blobs.size,
        lambda key: blobs.reading(key).__enter__(),
        lambda key: list(blobs.pieces(key, 0, 1)),
    ]
    for way in ways:
        for key in ("inputs/b", "inputs/a/b", "elsewhere/a"):
            with pytest.raises(NotFound, match="retention ended"):
                way(key)


def test_a_blob_that_became_shorter_is_never_taken_for_whole(blobs: BlobStore) -> None:
    blobs.put("inputs/a", LARGE)
    pieces = blobs.pieces("inputs/a", 0, len(LARGE))
    assert next(pieces)
    if isinstance(blobs, FolderBlobs):
        os.truncate(blobs.root / "inputs/a", PIECE_BYTES + 10)  # a rename would leave the open file whole
    else:
        blobs.put("inputs/a", LARGE[: PIECE_BYTES + 10])
    with pytest.raises(NotFound):
        list(pieces)


def test_deleting_twice_is_fine_and_touches_no_neighbour(blobs: BlobStore) -> None:
    for key in ("inputs/a", "inputs/ab", "inputs/a.b"):
        blobs.put(key, b"x")
    blobs.delete("inputs/a")
    blobs.delete("inputs/a")
    blobs.delete("nothing/there")
    assert listed(blobs) == {"inputs/ab", "inputs/a.b"}


def test_keys_are_listed_by_whole_parts_with_size_and_age_and_without_strangers(place: Place) -> None:
    blobs = place.blobs
    for key in ("inputs/a", "inputs/deep/er/b", "inputs-too/c", "results/0/d"):
        blobs.put(key, key.encode())
    place.put_strangers()
    found = {one.key: one for one in blobs.keys("inputs")}
    assert set(found) == {"inputs/a", "inputs/deep/er/b"}
    assert found["inputs/deep/er/b"].size_bytes == len("inputs/deep/er/b")
    # S3 tells whole seconds.
    assert all(abs(datetime.now(UTC) - one.modified) < timedelta(seconds=60) for one in found.values())
    assert listed(blobs, "inputs/deep") == {"inputs/deep/er/b"}
    assert listed(blobs, "nothing") == set()


def test_more_keys_are_listed_than_a_page_has(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {f"inputs/{number:04}" for number in range(1_050)}
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for key in keys:
        blobs.put(key, b"")
    assert listed(blobs) == keys


@pytest.mark.parametrize(
    "key",
    ["", "a", "/etc/passwd", "a/../../b", "../a/b", "a/..", "a/./b", "a/.writing-x", "a//b", "a/b/", "A/b", "a/b\n", "a/b\0",
     "a\\b/c", "a/%2e%2e/b", "s3://other/a"],
)  # fmt: skip
def test_what_is_no_key_reaches_no_place(blobs: BlobStore, key: str) -> None:
    ways: list[Callable[[str], object]] = [
        lambda key: blobs.put(key, b"x"),
        lambda key: blobs.put(key, LARGE),
        lambda key: blobs.writing(key).__enter__(),
        blobs.get,
        lambda key: blobs.reading(key).__enter__(),
        blobs.size,
        lambda key: list(blobs.pieces(key, 0, 1)),
        blobs.delete,
    ]
    for way in ways:
        with pytest.raises(Broken):
            way(key)
    if key != "a":
        with pytest.raises(Broken):
            list(blobs.keys(key))


def test_a_check_finds_the_place_sound_and_leaves_nothing(place: Place) -> None:
    place.blobs.check()
    assert listed(place.blobs, "checks") == set()
    assert place.blobs.place in _writable(place.settings)


KILLED = """
import sys, time
from orchestrator.blobs import open_blobs
from orchestrator.settings import Settings
with open_blobs(Settings.load()).writing("inputs/a") as file:
    for _ in range(20):
        file.write(b"x" * 1024 * 1024)
    file.flush()
    sys.stdout.write("written")
    sys.stdout.flush()
    time.sleep(60)
"""


@pytest.mark.fault
def test_a_killed_writer_leaves_no_half_blob_and_what_it_left_can_be_told_and_swept(place: Place) -> None:
    given = {name: str(getattr(place.settings, name)) for name in place.settings.model_fields_set}
    env = {**os.environ, **{f"RIGHTSIZE_{name.upper()}": value for name, value in given.items()}}
    with subprocess.Popen([sys.executable, "-c", KILLED], cwd=ROOT, env=env, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.read(7) == b"written"
        writer.send_signal(signal.SIGKILL)
    assert listed(place.blobs) == set()
    with pytest.raises(NotFound):
        place.blobs.get("inputs/a")
    assert len(place.left_over()) == 1
    place.blobs.put("inputs/a", b"by the next one")
    assert place.blobs.sweep(3600) == 0
    if isinstance(place.blobs, FolderBlobs):
        assert place.blobs.sweep(0) == 1
        assert place.left_over() == []
    assert listed(place.blobs) == {"inputs/a"}


def test_a_sweep_leaves_a_writer_that_still_writes_alone(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with blobs.writing("inputs/a") as file:
        file.write(b"x")
        assert blobs.sweep(60) == 0
    assert blobs.get("inputs/a") == b"x"


# A folder


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_f21_a_full_disk_is_said_and_leaves_no_half_blob(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.blobs import FolderBlobs\n"
        "from orchestrator.errors import ServiceUnavailable\n"
        "blobs = FolderBlobs(Path(sys.argv[1]))\n"
        "blobs.put('inputs/small', b'x')\n"
        "for _ in range(2):\n"
        "    try: blobs.put('inputs/large', b'x' * (8 << 20))\n"
        "    except ServiceUnavailable as error: print(error.message, error.retry_after_s)\n"
        "print([one.key for one in blobs.keys('inputs')], list(Path(sys.argv[1]).rglob('.writing-*')), blobs.free_bytes() > 2 << 20)\n"
    )
    command = 'mount -t tmpfs -o size=4m none "$1" && exec "$2" -c "$3" "$1"'
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", tmp_path, sys.executable, code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said, again, left = ended.stdout.splitlines()
    assert said == again == f"The disk that holds {tmp_path} is full. Free some space, then try again. 30.0"
    assert left == "['inputs/small'] [] True"


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    blobs = FolderBlobs(tmp_path / "blobs")
    ways: list[Callable[[], object]] = [lambda: blobs.put("inputs/a", b"x"), blobs.check]
    for way in ways:
        with pytest.raises(ServiceUnavailable, match="Check that the folder exists"):
            way()


# A bucket


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
