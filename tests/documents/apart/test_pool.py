"""The pool of processes that read documents: what one document does costs that document, and nothing else."""

from __future__ import annotations

import gzip
import io
import os
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Limits, Unreadable
from orchestrator.errors import Broken
from tests.documents.apart.asked import FAULTY, MIB, do, refused


@pytest.mark.parametrize("name, kind", [("a.txt", "text"), ("a.md", "markdown"), ("a.pdf", "text")])
def test_a_document_is_read_by_the_reader_of_its_kind(tmp_path, name, kind):
    path = tmp_path / name
    path.write_text("Plain text.")
    with Pool(children=1) as pool, path.open("rb") as stream:
        reading = pool.read(stream, path.name)
        assert (reading.kind, reading.text) == (kind, "Plain text.")


def test_one_process_reads_many_documents_and_none_is_left(pool):
    pids = {int(do(pool, "pid")) for _ in range(20)}
    assert pids == set(pool.pids)
    (pid,) = pids
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_process_starts_before_there_is_a_document():
    with Pool(children=4) as pool:
        assert pool.pids == []


def test_as_many_threads_as_there_are_processes_read_at_once(two):
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: do(two, "sleep 0.1"), range(4)))  # both have started
        begun = time.monotonic()
        list(threads.map(lambda _: do(two, "sleep 1"), range(2)))
        assert time.monotonic() - begun < 1.8
    assert len(two.pids) == 2


def test_more_threads_than_processes_wait_for_their_turn(two):
    with ThreadPoolExecutor(12) as threads:
        told = list(threads.map(lambda number: do(two, f"say {number}"), range(200)))
    assert told == [str(number) for number in range(200)]
    assert len(two.pids) <= 2


def test_a_process_outlives_the_thread_that_it_was_started_for(pool):
    pids: list[str] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: pids.append(do(pool, "pid")))
        thread.start()
        thread.join()
        time.sleep(0.05)
    assert len(set(pids)) == 1


@pytest.mark.parametrize("kind", ["file", "moved", "memory", "gzip", "pipe", "unbuffered"])
def test_any_stream_will_do_from_wherever_it_stands(pool, tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(b"say hello")
    stream: BinaryIO
    if kind == "memory":
        stream = io.BytesIO(b"say hello")
    elif kind == "gzip":  # which has the descriptor of the packed file
        path.write_bytes(gzip.compress(b"say hello"))
        stream = gzip.GzipFile(path)
    elif kind == "pipe":
        reading, writing = os.pipe()
        os.write(writing, b"say hello")
        os.close(writing)
        stream = os.fdopen(reading, "rb")
    else:
        stream = path.open("rb", buffering=0 if kind == "unbuffered" else -1)
        if kind == "moved":
            stream.seek(4)
    with stream:
        assert pool.read(stream, "a.txt").text == "hello"


def test_two_threads_read_the_same_open_file(two, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"say " + b"x" * 3 * MIB)
    with path.open("rb") as stream, ThreadPoolExecutor(2) as threads:
        sizes = threads.map(lambda _: len(two.read(stream, "a.txt").text), range(20))
        assert set(sizes) == {3 * MIB}


def test_limits_and_their_password_come_along(pool):
    assert do(pool, "limits", Limits(max_pages=7, password="s3cret \N{SNOWMAN}")) == "('s3cret \N{SNOWMAN}', 7)"


@pytest.mark.parametrize("name", ["a\0.txt", "../../a", "x" * 100_000, "\udcff\ud800", "a\n.txt", ""])
def test_a11_any_name_is_only_a_hint(pool, name):
    assert pool.read(io.BytesIO(b"say x"), name).text == "x"


def test_what_is_no_document_is_refused_by_its_content(pool):
    assert refused(pool, "\0\1\2").code == "unsupported_file"
    with pytest.raises(Unreadable, match="archive"):
        pool.read(io.BytesIO(gzip.compress(b"x")), "a.txt")


def test_a_kind_without_a_reader_is_unsupported(pool):
    with pytest.raises(Unreadable, match="kind png") as caught:
        pool.read(io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(20)), "a.txt")
    assert caught.value.code == "unsupported_file"


@pytest.mark.parametrize("data", [b"x" * 101, b"x" * 10_000])
def test_a_file_over_the_limit_is_refused(pool, tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    for stream in (io.BytesIO(data), path.open("rb")):
        with stream, pytest.raises(Unreadable, match="at most 100 bytes") as caught:
            pool.read(stream, "a.txt", Limits(max_bytes=100))
        assert caught.value.code == "file_too_large"


def test_an_empty_file_is_refused(pool):
    assert refused(pool, "").code == "empty_file"


def test_a_text_over_the_limit_is_refused_and_never_cut(pool):
    assert refused(pool, "long 1001", Limits(max_chars=1000)).code == "text_too_long"
    assert len(do(pool, "long 1000", Limits(max_chars=1000))) == 1000


def test_what_is_no_character_does_not_come_out(pool):
    assert do(pool, "surrogate") == "a?bc"


def test_a_refusal_keeps_its_code_and_words(pool):
    problem = refused(pool, "refuse It is locked. Unlock it.")
    assert (problem.code, problem.message) == ("password_required", "It is locked. Unlock it.")


def test_a12_parts_are_read_to_a_depth(pool):
    assert do(pool, "nest 3") == "bottom"
    assert "nested over 3 deep" in refused(pool, "nest 4").message
    assert refused(pool, "nest 500", Limits(max_depth=100_000)).code == "unreadable_file"


def test_a12_parts_are_counted_and_so_are_their_bytes(pool):
    assert do(pool, "parts 10", Limits(max_parts=10)) == "parts"
    assert refused(pool, "parts 11", Limits(max_parts=10)).code == "file_too_large"
    assert refused(pool, "parts 11", Limits(max_unpacked_bytes=50)).code == "file_too_large"


def test_pictures_of_pages_come_as_bytes(pool):
    assert pool.render(io.BytesIO(b"%PDF-1.4"), [1, 3]) == [b"\xff\xd8\xff\0", b"\xff\xd8\xff\0\0\0"]
    assert pool.render(io.BytesIO(b"%PDF-1.4"), []) == []


def test_a14_what_is_no_picture_or_not_as_many_is_an_error(pool):
    for pages in ([900], [999]):
        with pytest.raises(Unreadable):
            pool.render(io.BytesIO(b"%PDF-1.4"), pages)


def test_only_pages_of_a_pdf_are_drawn(pool):
    with pytest.raises(Unreadable, match="PDF") as caught:
        pool.render(io.BytesIO(b"text"), [1])
    assert caught.value.code == "unsupported_file"


def test_f27_a_page_that_takes_too_long_is_an_error(pool):
    with pytest.raises(Unreadable, match=r"not read within 0\.5 s"):
        pool.render(io.BytesIO(b"%PDF-1.4 hang"), [1], Limits(timeout_s=0.5))


def test_closing_ends_what_is_being_read_at_once(two):
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(do, two, "sleep 30") for _ in range(2)]
        while len(two.pids) < 2:
            time.sleep(0.02)
        time.sleep(0.3)
        pids = two.pids
        begun = time.monotonic()
        two.close()
        for one in waiting:
            with pytest.raises(Broken, match="closed"):
                one.result(5)
        assert time.monotonic() - begun < 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_closed_pool_reads_nothing_and_closes_again(pool):
    pool.close()
    pool.close()
    with pytest.raises(Broken, match="closed"):
        do(pool, "say x")


@pytest.mark.parametrize("deed", ["say waiting", "sleep 60", "spin", "ignore"])
def test_processes_end_when_their_parent_is_killed(deed):
    script = (
        "import io, sys, threading, time\n"
        "from orchestrator.documents.apart.pool import Pool\n"
        f"with Pool(children=1, readers_module={FAULTY!r}) as pool:\n"
        "    pool.read(io.BytesIO(b'say x'), 'a.txt')\n"
        f"    threading.Thread(target=pool.read, args=(io.BytesIO({deed.encode()!r}), 'a.txt'), daemon=True).start()\n"
        "    time.sleep(0.2)\n"
        "    print(*pool.pids, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        ended = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([ended], [], [], 5)[0], "a process outlived its parent"
        finally:
            os.close(ended)
