"""A blob store in a folder and in a bucket: one suite for both."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.blobs import PIECE_BYTES, BlobStore, FolderBlobs, s3
from orchestrator.doctor import _writable
from orchestrator.errors import Broken, NotFound
from orchestrator.flow.lines import bounded_lines
from orchestrator.settings import MIB
from tests.blobs.places import LARGE, Place, listed, whole
from tests.stack import ROOT


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
