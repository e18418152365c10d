"""Files sent and read: never whole in memory, again from where it is safe, and no byte lost or doubled."""

from __future__ import annotations

import asyncio
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from orchestrator import errors
from orchestrator.client import AsyncRightsize, Rightsize
from orchestrator.client.downloading import Download
from orchestrator.client.lines import LineFile, Lines, lines_of
from orchestrator.client.sending import of_file
from tests.client.cutting import Cutter
from tests.serving import Api

MIB = 1 << 20


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(3 * MIB))
    return path


def test_a_path_and_lines_come_back_byte_for_byte(client: Rightsize, big: Path) -> None:
    stored = client.upload(big)
    assert (stored["filename"], stored["bytes"], stored["purpose"]) == ("big.bin", 3 * MIB, "batch")
    assert b"".join(client.content(stored["id"])) == big.read_bytes()
    assert client.file(stored["id"]) == stored
    made = client.upload([b"one", b"two\n"], filename='od"d\n.jsonl', purpose="user_data", expires_after_s=3_600)
    assert made["purpose"] == "user_data"
    assert made["expires_at"] - made["created_at"] == 3_600
    assert b"".join(client.content(made["id"])) == b"one\ntwo\n"
    with pytest.raises(errors.InvalidRequest, match="no JSONL file"):
        list(client.lines(made["id"]))
    assert made["id"] in [one["id"] for one in client.files(purpose="user_data")]
    assert made["id"] not in [one["id"] for one in client.files(purpose="batch")]
    assert client.delete_file(made["id"])["deleted"] is True
    with pytest.raises(errors.NotFound):
        client.file(made["id"])
    with pytest.raises(errors.NotFound):
        list(client.content(made["id"]))


def test_asynchronous_code_sends_and_reads_the_same(api: Api, big: Path) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"{number}".encode()

    content = big.read_bytes()

    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            stored = await client.upload(big)
            assert b"".join([piece async for piece in client.content(stored["id"])]) == content
            made = await client.upload(lines())
            assert b"".join([piece async for piece in client.content(made["id"])]) == b"0\n1\n2\n"
            assert [line async for line in client.lines(made["id"])] == [0, 1, 2]
            assert made["id"] in [one["id"] async for one in client.files()]
            assert (await client.delete_file(made["id"]))["deleted"] is True

    asyncio.run(run())


def test_a_file_of_any_size_takes_little_memory(api: Api, client: Rightsize) -> None:
    line = orjson.dumps({"text": "x" * 1000})

    def lines(count: int) -> Iterator[bytes]:
        return (line for _ in range(count))

    client.delete_file(client.upload(lines(1))["id"])
    tracemalloc.start()
    try:
        stored = client.upload(lines(40_000))
        uploaded = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        size = sum(map(len, client.content(stored["id"])))
        downloaded = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == stored["bytes"] > 38 * MIB
    # The API runs in this process too: its own pieces count as well.
    assert max(uploaded, downloaded) < 20 * MIB
    client.delete_file(stored["id"])


def test_a_download_that_is_cut_goes_on_with_the_next_byte(
    cutter: Cutter, api: Api, client: Rightsize, big: Path
) -> None:
    stored = client.upload(big)
    cutter.cut("/content", times=3, answer_bytes=MIB)
    with Rightsize(cutter.url, api.key) as through:
        assert b"".join(through.content(stored["id"])) == big.read_bytes()
    asked = cutter.asked("/content")
    assert cutter.cuts == 3
    assert len(asked) == 4
    assert b"range:" not in asked[0].lower()
    assert all(b"\r\nrange: bytes=" in head.lower() for head in asked[1:])


def test_an_asynchronous_download_that_is_cut_goes_on_with_the_next_byte(
    cutter: Cutter, api: Api, client: Rightsize, big: Path
) -> None:
    stored = client.upload(big)
    cutter.cut("/content", times=2, answer_bytes=MIB)

    async def run() -> bytes:
        async with AsyncRightsize(cutter.url, api.key) as through:
            return b"".join([piece async for piece in through.content(stored["id"])])

    assert asyncio.run(run()) == big.read_bytes()
    assert cutter.cuts == 2


def test_a_download_from_a_service_that_stays_away_is_given_up_with_a_remedy(
    cutter: Cutter, api: Api, client: Rightsize, big: Path
) -> None:
    stored = client.upload(big)
    cutter.cut("/content", times=100, answer_bytes=10)
    told: list[str] = []
    with (
        Rightsize(cutter.url, api.key, on_wait=told.append) as through,
        pytest.raises(errors.ServiceUnavailable, match="Is the service up"),
    ):
        list(through.content(stored["id"]))
    assert cutter.cuts == 6
    assert len(told) == 1


def test_an_upload_from_a_path_that_is_cut_is_sent_again_from_its_start(cutter: Cutter, api: Api, big: Path) -> None:
    cutter.cut("POST /v1/files", times=2, body_bytes=MIB)
    with Rightsize(cutter.url, api.key) as through:
        stored = through.upload(big)
        assert b"".join(through.content(stored["id"])) == big.read_bytes()
    assert cutter.cuts == 2


def test_a_collection_is_sent_again_and_a_generator_that_was_begun_is_not(cutter: Cutter, api: Api) -> None:
    lines = [b"x" * 1000 for _ in range(3000)]
    cutter.cut("POST /v1/files", times=1, body_bytes=MIB)
    with Rightsize(cutter.url, api.key) as through:
        assert through.upload(lines)["bytes"] == 3_003_000
        cutter.cut("POST /v1/files", times=1, body_bytes=MIB)
        with pytest.raises(errors.ServiceUnavailable):
            through.upload(iter(lines))
    assert len(cutter.asked("POST /v1/files")) == 3


def test_asynchronous_lines_that_were_begun_are_not_sent_again(cutter: Cutter, api: Api) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b"x" * 1000

    async def run() -> None:
        cutter.cut("POST /v1/files", times=2, body_bytes=MIB)
        async with AsyncRightsize(cutter.url, api.key) as through:
            with pytest.raises(errors.ServiceUnavailable):
                await through.upload(lines())
            assert (await through.upload([b"x" * 1000] * 3000))["bytes"] == 3_003_000

    asyncio.run(run())
    assert len(cutter.asked("POST /v1/files")) == 3


def test_what_cannot_be_read_is_refused_before_anything_is_sent(cutter: Cutter, api: Api, tmp_path: Path) -> None:
    with Rightsize(cutter.url, api.key) as through:
        for path, words in ((tmp_path / "none", "no file"), (tmp_path, "cannot be read")):
            with pytest.raises(errors.InvalidRequest, match=words):
                through.upload(path)
    assert cutter.heads == []


def test_what_a_pipe_gives_is_sent_once(client: Rightsize, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"x" * 200_000,))
    writer.start()
    assert client.upload(tmp_path / "pipe")["bytes"] == 200_000
    writer.join(10)


def test_a_file_that_becomes_shorter_while_it_is_sent_is_said_to(client: Rightsize, big: Path) -> None:
    source = of_file(big)
    pieces = source.pieces()
    next(pieces)
    os.truncate(big, MIB)
    with pytest.raises(errors.InvalidRequest, match="became shorter"):
        list(pieces)


def test_a_server_that_knows_no_range_sends_all_again_and_no_byte_is_doubled() -> None:
    content = os.urandom(1000)
    download = Download("/x")
    download.begins(200, {"content-length": "1000"})
    came = download.took(content[:400])
    with pytest.raises(errors.ServiceUnavailable, match="400 of 1,000 bytes"):
        download.ended()
    assert download.call.headers["Range"] == "bytes=400-"
    download.begins(200, {"content-length": "1000"})
    for at in range(0, 1000, 150):
        came += download.took(content[at : at + 150])
    download.ended()
    assert (came, download.is_whole) == (content, True)


def test_another_part_than_was_asked_for_is_not_taken() -> None:
    download = Download("/x")
    download.begins(200, {"content-length": "1000"})
    download.took(b"x" * 400)
    for headers in ({}, {"content-range": "bytes 0-999/1000"}, {"content-range": "bytes x-9/1000"}):
        with pytest.raises(errors.ServiceUnavailable, match="another part"):
            download.begins(206, headers)


def test_lines_survive_any_cut() -> None:
    content = b"one\n\ntwo\nthree"
    for size in range(1, len(content) + 1):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert list(lines_of(pieces)) == [b"one", b"two", b"three"]
        bounded = Lines(3)
        found = [line for piece in pieces for line in bounded.feed(piece)] + bounded.end()
        assert found == [b"one", b"", b"two", None]
    file = LineFile([b"one", b"two\n", b"three"])
    assert b"".join(iter(lambda: file.read(4), b"")) == b"one\ntwo\nthree\n"
